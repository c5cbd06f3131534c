"""y = x Wᵀ + b + s·(x Aᵀ) Bᵀ for one linear layer, or for several that read the same x, as one autograd function.

It keeps x, or the parts that x is made of, and x Aᵀ. Layers that share x share the work on it: the products with A
are one product, and so are their gradients. Weights that are held in fewer bits, or in files, are
expanded when they are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from luthier.models.again import Made, made
from luthier.models.held import expanded


class Adapted(NamedTuple):
    """One layer: W (out, in), b (out,) or None, A (r, in), B (out, r) and s."""

    weight: Any
    bias: Tensor | None
    a: Tensor
    b: Tensor
    scale: float


def lora_linears(x: Tensor, layers: Sequence[Adapted]) -> list[Tensor]:
    """What each layer makes of x (…, in): (…, out), with A and B as numbers of x's type."""
    tensors = [part for w, b, down, up, _ in layers for part in (w, b, down.to(x.dtype), up.to(x.dtype))]
    flat = x.reshape(-1, x.shape[-1])
    found = _LoraLinears.apply(made(x), [layer.scale for layer in layers], flat, *tensors)
    return [out.view(*x.shape[:-1], -1) for out in found]  # here and not inside, as some models change it in place


class _LoraLinears(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, source: Made, scales: Sequence[float], flat: Tensor, *tensors: Any) -> tuple[Tensor, ...]:
        weights, biases, downs, ups = (tensors[start::4] for start in range(4))
        low = flat @ _joined(downs).T
        outs = []
        for weight, bias, up, scale, own in zip(weights, biases, ups, scales, _split(low, downs), strict=True):
            matrix = expanded(weight, flat.dtype)
            out = flat @ matrix.T if bias is None else torch.addmm(bias, flat, matrix.T)
            outs.append(out.addmm_(own, up.T, alpha=scale))
        ctx.make, ctx.scales, ctx.weights, ctx.parts = source.make, scales, weights, len(source.parts)
        ctx.save_for_backward(*source.parts, low, *downs, *ups)
        return tuple(outs)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        saved = ctx.saved_tensors
        parts, (low, *matrices) = saved[: ctx.parts], saved[ctx.parts :]
        count = len(ctx.weights)
        downs, ups = matrices[:count], matrices[count:]
        flat = ctx.make(*parts).view(len(low), -1)
        slope = torch.cat([(g @ up).mul_(s) for g, up, s in zip(grads, ups, ctx.scales, strict=True)], 1)
        grad_x = None
        if ctx.needs_input_grad[2]:
            grad_x = slope @ _joined(downs)
            for grad, weight in zip(grads, ctx.weights, strict=True):
                grad_x.addmm_(grad, expanded(weight, grad.dtype))
        of_downs = _split(slope.T @ flat, downs, 0)
        of_ups = [(g.T @ own).mul_(s) for g, own, s in zip(grads, _split(low, downs), ctx.scales, strict=True)]
        found: list[Any] = [None, None, grad_x]
        for number, (grad, of_down, of_up) in enumerate(zip(grads, of_downs, of_ups, strict=True)):
            needs = ctx.needs_input_grad[3 + 4 * number :]
            found += [grad.T @ flat if needs[0] else None, grad.sum(0) if needs[1] else None, of_down, of_up]
        return tuple(found)


def _joined(matrices: Sequence[Tensor]) -> Tensor:
    return matrices[0] if len(matrices) == 1 else torch.cat(list(matrices))


def _split(joined: Tensor, matrices: Sequence[Tensor], dim: int = 1) -> Sequence[Tensor]:
    return joined.split([len(matrix) for matrix in matrices], dim)
