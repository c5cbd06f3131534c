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

from luthier.models import attention_blocks
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
            own, total = _part(query[:, :, part.start : part.end], key, value, part, scale)
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
            grad, done = grads[0][:, own].transpose(1, 2), out[:, own].transpose(1, 2)
            of_query, of_key, of_value = _of_part(grad, query[:, :, own], key, value, done, total, part, ctx.scale)
            grad_query[:, :, own] = of_query
            _scatter(grad_key, of_key, part.spans)
            _scatter(grad_value, of_value, part.spans)
        return grad_query, grad_key, grad_value, None, None


def _part(query: Tensor, key: Tensor, value: Tensor, part: Part, scale: float | None) -> tuple[Tensor, Tensor | None]:
    """What the queries (1, heads, L, D) of a segment read, and what the kernel wants to be told in the backward."""
    key, value = gather(key, part.spans), gather(value, part.spans)
    if attention_blocks.suits(part, query):
        return attention_blocks.forward(query[0], key[0], value[0], part.causal, _scale(query, scale))[None], None
    causal = part.plain and part.causal
    return _forward(query, key, value, 0.0, causal, attn_mask=bias(part, query), scale=scale)


def _of_part(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, total: Tensor | None, part: Part,
    scale: float | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    key, value = gather(key, part.spans), gather(value, part.spans)
    if total is None:
        of_query, of_key, of_value = attention_blocks.backward(
            grad[0], query[0], key[0], value[0], part.causal, _scale(query, scale)
        )
        return of_query[None], of_key[None], of_value[None]
    causal, mask = part.plain and part.causal, bias(part, query)
    return _backward(grad, query, key, value, out, total, 0.0, causal, attn_mask=mask, scale=scale)


def _scale(query: Tensor, scale: float | None) -> float:
    return query.shape[3] ** -0.5 if scale is None else scale


def _scatter(whole: Tensor, found: Tensor, spans: Spans) -> None:
    done = 0
    for start, end in spans:
        whole[:, :, start:end] += found[:, :, done : done + end - start]
        done += end - start
