"""Any function of each target's logits, with its gradient, without ever holding all logits.

The function is written for a slice of targets in plain tensor operations; here it is called for one chunk after the
other. Where the head is frozen, the gradient of each value with respect to its hidden state is taken while the chunk
is at hand, and the backward only scales it. Where the head is trained, the backward computes each chunk again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from luthier.models.precision import wide

CHUNK = 128
"""Targets a chunk: each tensor that the function makes takes CHUNK × vocabulary floats (25 MB for 49 152 tokens)."""

OfLogits = Callable[[slice, Tensor], Tensor]
"""(which of the N targets, their logits (n, V)) → one value each, (n,). Each value depends on its own logits only."""


def from_logits(hidden_NH: Tensor, head_VH: Tensor, bias_V: Tensor | None, fn: OfLogits) -> Tensor:
    """`fn` of the logits h Wᵀ + b of each row of `hidden_NH`: (N, H), (V, H), (V,) → (N,) in at least float32.

    Differentiable with respect to hidden states, head and bias; what `fn` brings along counts as constant.
    """
    return _FromLogits.apply(hidden_NH, head_VH, bias_V, fn)


class _FromLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, bias: Tensor | None, fn: OfLogits) -> Tensor:
        frozen = not (ctx.needs_input_grad[1] or ctx.needs_input_grad[2])
        ctx.direct, ctx.fn = frozen and ctx.needs_input_grad[0], fn
        values: list[Tensor] = []
        units: list[Tensor] = []
        for rows in _chunks(hidden):
            with torch.set_grad_enabled(ctx.direct):
                own = hidden[rows].detach().requires_grad_(ctx.direct)
                found = fn(rows, _logits(own, head, bias))
            values.append(found.detach())
            units += torch.autograd.grad(found, own, torch.ones_like(found)) if ctx.direct else ()
        ctx.save_for_backward(*((_join(units, hidden),) if ctx.direct else (hidden, head, bias)))
        return torch.cat(values) if values else hidden.new_zeros(0, dtype=wide(hidden.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        grad = grads[0]
        if ctx.direct:
            (unit,) = ctx.saved_tensors
            return unit * grad[:, None].to(unit.dtype), None, None, None
        hidden, head, bias = ctx.saved_tensors
        leaves = [head.detach().requires_grad_(), *([] if bias is None else [bias.detach().requires_grad_()])]
        totals: list[Tensor] = [torch.zeros_like(leaf, dtype=wide(leaf.dtype)) for leaf in leaves]
        parts: list[Tensor] = []
        for rows in _chunks(hidden):
            with torch.enable_grad():
                own = hidden[rows].detach().requires_grad_()
                found = ctx.fn(rows, _logits(own, *leaves))
            part, *rest = torch.autograd.grad(found, [own, *leaves], grad[rows].to(found.dtype))
            parts.append(part)
            for total, more in zip(totals, rest, strict=True):
                total += more
        return _join(parts, hidden), totals[0], totals[1] if bias is not None else None, None


def _logits(hidden: Tensor, head: Tensor, bias: Tensor | None = None) -> Tensor:
    logits = F.linear(hidden, head, bias)
    return logits.to(wide(logits.dtype))


def _chunks(hidden: Tensor) -> Iterator[slice]:
    return (slice(start, min(start + CHUNK, len(hidden))) for start in range(0, len(hidden), CHUNK))


def _join(parts: list[Tensor], like: Tensor) -> Tensor:
    return torch.cat(parts) if parts else torch.zeros_like(like)
