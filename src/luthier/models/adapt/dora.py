"""DoRA's linear layer (Liu et al. 2024, arXiv:2402.09353) as one autograd function: y = m ∘ (x Vᵀ) / ‖V‖ + bias, where
V = W + s·BA is never formed.

The lengths of V's rows are a constant of the gradient, as in section 4.3 of the paper and in PEFT. They come from those
of W's rows, which are kept as long as W is frozen, and from products as thin as A and B:

    ‖V_i‖² = ‖W_i‖² + 2 s B_i · (A W_iᵀ) + s² B_i (A Aᵀ) B_iᵀ
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from luthier.models.held import expanded
from luthier.models.peft_parts import DoraLinearVariant
from luthier.models.precision import wide


def is_dora(layer: Any, name: str) -> bool:
    """Whether this adapter of a PEFT layer learns the lengths of rows apart."""
    return isinstance(layer.lora_variant.get(name), DoraLinearVariant)


@torch.no_grad()
def row_lengths(weight: Tensor) -> Tensor:
    """The length of each row of a linear layer's weights, (O,)."""
    return torch.linalg.norm(expanded(weight), dim=1, dtype=wide(weight.dtype) if weight.is_floating_point() else None)


class Dora:
    """The output of one layer; remembers the lengths of W's rows while W stands still."""

    def __init__(self) -> None:
        self.of: tuple[Any, ...] = ()
        self.lengths: Tensor | None = None

    def __call__(self, layer: Any, name: str, flat: Tensor) -> Tensor:
        """(N, I) → (N, O), of the layer with this one adapter."""
        base = layer.base_layer
        a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
        return _DoraLinear.apply(
            flat, base.weight, base.bias, a, b, layer.lora_magnitude_vector[name].weight, layer.scaling[name],
            self._rows(base.weight),
        )  # fmt: skip

    def _rows(self, weight: Tensor) -> Tensor:
        stands = (weight.data_ptr(), weight._version, weight.device, weight.dtype)
        if self.lengths is None or weight.requires_grad or stands != self.of:
            self.lengths, self.of = row_lengths(weight), stands
        return self.lengths


def stretched(lengths: Tensor, matrix: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """The lengths of the rows of W + s·BA, (O,), from those of W; exactly these where B is zero."""
    across = (matrix @ a.T).mul_(2 * scale).addmm_(b, a @ a.T, alpha=scale**2)
    more = across.mul_(b).sum(1)
    return lengths * (more / lengths.square()).add_(1).clamp_(min=0).sqrt_()


class _DoraLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, flat: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, magnitude: Tensor,
        scale: float, lengths: Tensor,
    ) -> Tensor:  # fmt: skip
        matrix, kind = expanded(weight, flat.dtype), flat.dtype
        rows = stretched(lengths, matrix.to(a.dtype), a, b, scale)
        gain, a, b = (magnitude / rows).to(kind), a.to(kind), b.to(kind)
        low = flat @ a.T
        turned = torch.mm(flat, matrix.T).addmm_(low, b.T, alpha=scale)
        ctx.scale, ctx.weight = scale, weight
        ctx.save_for_backward(flat, low, a, b, turned, gain, rows)
        return turned * gain if bias is None else torch.addcmul(bias, turned, gain)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        flat, low, a, b, turned, gain, rows = ctx.saved_tensors
        grad = grads[0]
        grad_magnitude = (grad * turned).sum(0, dtype=rows.dtype).div_(rows)
        slope = grad * gain
        down = (slope @ b).mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (slope @ expanded(ctx.weight, slope.dtype)).addmm_(down, a)
        grad_weight = slope.T @ flat if ctx.needs_input_grad[1] else None
        grad_bias = grad.sum(0) if ctx.needs_input_grad[2] else None
        grad_b = (slope.T @ low).mul_(ctx.scale)
        return grad_x, grad_weight, grad_bias, down.T @ flat, grad_b, grad_magnitude, None, None
