"""Normalisation and gated activations that keep less for the backward.

RMS normalisation (Zhang and Sennrich 2019, arXiv:1910.07467) keeps its input and one number a token; a gated
activation, silu(g) · u (Shazeer 2020, arXiv:2002.05202), keeps g and u. What comes out of them is made again where a
linear layer needs it in the backward. A layer is replaced only where it gives the same numbers as these formulas.

What the last block's feed-forward says of a token goes nowhere but into that token's last state, so it is computed for
the tokens whose last state is read.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from luthier.models.again import mark

ASKED: ContextVar[tuple[int, Tensor] | None] = ContextVar("ASKED", default=None)
"""How many tokens a forward pass has, and which of them (n,), each once, have a last state that is read; None: all."""
GATED = ("gate_proj", "up_proj", "down_proj", "act_fn")


def make_lean(model: nn.Module) -> None:
    """Give the layers of `model` that are of these two kinds the lean forward."""
    gated: dict[tuple[type, type], bool] = {}
    for module in model.modules():
        if hasattr(module, "variance_epsilon") and _normalises(module):
            module.forward = LeanNorm(module)  # type: ignore[method-assign, assignment]
        elif all(hasattr(module, name) for name in GATED):
            kind = type(module), type(module.act_fn)
            if kind not in gated:  # its weights may have to be read from a file
                gated[kind] = _gates(module)
            if gated[kind]:
                module.forward = LeanGate(module)  # type: ignore[method-assign, assignment]


def mark_last(block: nn.Module) -> None:
    """Let the feed-forward of a model's last block, where it is lean, leave out what nothing reads."""
    for module in block.modules():
        if isinstance(module.forward, LeanGate):
            module.forward.last = True


class LeanNorm:
    """The forward of one RMS normalisation."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(self, hidden: Tensor) -> Tensor:
        layer = self.layer
        if hidden.dtype == torch.float64 or not torch.is_grad_enabled():
            return type(layer).forward(layer, hidden)
        out, root = _Normalise.apply(hidden, layer.weight, layer.variance_epsilon)
        return mark(out, _normalised, hidden.detach(), root, layer.weight)


class LeanGate:
    """The forward of one feed-forward layer: down(silu(gate(x)) · up(x)), (1, T, H) → (1, T, H).

    In the `last` block it is 0 for tokens that are not ASKED for.
    """

    def __init__(self, layer: Any) -> None:
        self.layer, self.last = layer, False

    def __call__(self, x: Tensor) -> Tensor:
        asked = ASKED.get() if self.last else None
        if asked is None or x.ndim != 3 or x.shape[:2] != (1, asked[0]):
            return self._whole(x)
        some = self._whole(x[:, asked[1]])
        return torch.zeros_like(x, dtype=some.dtype).index_copy(1, asked[1], some)

    def _whole(self, x: Tensor) -> Tensor:
        layer = self.layer
        gate, up = layer.gate_proj(x), layer.up_proj(x)
        if not torch.is_grad_enabled():
            return layer.down_proj(_gated(gate, up))
        return layer.down_proj(mark(_Gate.apply(gate, up), _gated, gate.detach(), up.detach()))


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        root = torch.rsqrt(hidden.float().pow(2).mean(-1, keepdim=True) + epsilon)
        ctx.save_for_backward(hidden, root, weight)
        ctx.mark_non_differentiable(root)
        return _normalised(hidden, root, weight), root

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        hidden, root, weight = ctx.saved_tensors
        plain = hidden.float() * root
        grad_weight = (grads[0] * plain).flatten(0, -2).sum(0).to(weight.dtype) if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, grad_weight, None
        slope = (grads[0] * weight).float()
        along = torch.linalg.vecdot(slope, plain)[..., None] / plain.shape[-1]
        return slope.addcmul_(plain, along, value=-1).mul_(root).to(hidden.dtype), grad_weight, None


def _normalised(hidden: Tensor, root: Tensor, weight: Tensor) -> Tensor:
    return weight * (hidden.float() * root).to(hidden.dtype)


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return _gated(gate, up)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        grad_gate = torch.ops.aten.silu_backward(grads[0] * up, gate)
        return grad_gate, functional.silu(gate).mul_(grads[0])


def _gated(gate: Tensor, up: Tensor) -> Tensor:
    return functional.silu(gate).mul_(up)


@torch.no_grad()
def _normalises(layer: Any) -> bool:
    probe = _probe(layer.weight, layer.weight.shape[0])
    own = layer(probe)
    root = torch.rsqrt(probe.float().pow(2).mean(-1, keepdim=True) + layer.variance_epsilon)
    return torch.equal(own, _normalised(probe, root, layer.weight))


@torch.no_grad()
def _gates(layer: Any) -> bool:
    if not isinstance(layer.gate_proj, nn.Linear):
        return False
    probe = _probe(layer.gate_proj.weight, layer.gate_proj.in_features)
    return torch.equal(layer(probe), layer.down_proj(_gated(layer.gate_proj(probe), layer.up_proj(probe))))


def _probe(weight: Tensor, width: int) -> Tensor:
    dtype = weight.dtype if weight.is_floating_point() else torch.float32
    return torch.linspace(-2, 2, width, dtype=dtype, device=weight.device)[None, None]
