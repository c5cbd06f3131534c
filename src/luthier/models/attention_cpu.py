"""Attention over a packed batch on a CPU, as one function of all its segments.

The kernel is PyTorch's own (FlashAttention-2, Dao 2023, arXiv:2307.08691, for CPUs). Taking all segments together
keeps one output instead of each segment's and their union, writes gradients where they belong instead of adding up
padded ones, and gathers shared keys again for the backward instead of keeping them for every child.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from luthier.models.visible import Part, Spans, bias, gather

_forward: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def suits(query: Tensor, value: Tensor, dropout: float) -> bool:
    """Whether the kernel takes them."""
    return query.device.type == "cpu" and dropout == 0.0 and query.shape[3] == value.shape[3]


def attend(query: Tensor, key: Tensor, value: Tensor, parts: Sequence[Part], scale: float | None) -> Tensor:
    """query (1, heads, T, D), key and value (1, kv heads, S, D) → (1, T, heads, D)."""
    return _Attend.apply(query, key, value, parts, scale)


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, parts: Sequence[Part], scale: float | None
    ) -> Tensor:
        out = query.new_empty(1, query.shape[2], query.shape[1], query.shape[3])
        sums = []
        for part in parts:
            own, total = _forward(
                query[:, :, part.start : part.end], gather(key, part.spans), gather(value, part.spans), 0.0,
                part.plain and part.causal, attn_mask=bias(part, query), scale=scale,
            )  # fmt: skip
            out[:, part.start : part.end] = own.transpose(1, 2)
            sums.append(total)
        ctx.parts, ctx.scale = parts, scale
        ctx.save_for_backward(query, key, value, out, *sums)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        query, key, value, out, *sums = ctx.saved_tensors
        grad_query = torch.empty_like(out).transpose(1, 2)
        grad_key, grad_value = torch.zeros_like(key), torch.zeros_like(value)
        for part, total in zip(ctx.parts, sums, strict=True):
            own = slice(part.start, part.end)
            of_query, of_key, of_value = _backward(
                grads[0][:, own].transpose(1, 2), query[:, :, own], gather(key, part.spans), gather(value, part.spans),
                out[:, own].transpose(1, 2), total, 0.0, part.plain and part.causal, attn_mask=bias(part, query),
                scale=ctx.scale,
            )  # fmt: skip
            grad_query[:, :, own] = of_query
            _scatter(grad_key, of_key, part.spans)
            _scatter(grad_value, of_value, part.spans)
        return grad_query, grad_key, grad_value, None, None


def _scatter(whole: Tensor, found: Tensor, spans: Spans) -> None:
    done = 0
    for start, end in spans:
        whole[:, :, start:end] += found[:, :, done : done + end - start]
        done += end - start
