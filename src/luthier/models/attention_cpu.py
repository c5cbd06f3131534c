"""Attention over a packed batch on a CPU, as one function of all its segments.

Long segments are done in matrix products (`attention_blocks`), all others by PyTorch's own kernel (FlashAttention-2,
Dao 2023, arXiv:2307.08691, for CPUs). Taking all segments together
keeps one output instead of each segment's and their union, writes gradients where they belong instead of adding up
padded ones, and gathers shared keys again for the backward instead of keeping them for every child. Neighbours of one
length are one call of the kernel: short rows, sorted by length, would spend more on calls than on attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

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


class Run(NamedTuple):
    """So many parts of one length that lie side by side, each of which sees itself alone; or any single part."""

    first: Part
    times: int
    end: int

    @property
    def spans(self) -> Spans:
        """The keys of all of them."""
        (start, _), *_ = self.first.spans
        return self.first.spans if self.times == 1 else [(start, start + self.end - self.first.start)]


def runs(parts: Sequence[Part], query: Tensor) -> list[Run]:
    """The parts in their order, those together that one call of the kernel can take."""
    found: list[Run] = []
    for part in parts:
        last = found[-1] if found else None
        if last is not None and last.end == part.start and _alike(last.first, part, query):
            found[-1] = Run(last.first, last.times + 1, part.end)
        else:
            found.append(Run(part, 1, part.end))
    return found


def _alike(left: Part, right: Part, query: Tensor) -> bool:
    """Whether both are of one length, see no more than themselves, and are not better done as matrix products."""
    length = left.end - left.start
    same = left.plain and right.plain and length == right.end - right.start == left.keys == right.keys
    return same and not attention_blocks.suits(left, query)


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, parts: Sequence[Part], scale: float | None
    ) -> Tensor:
        out = query.new_empty(1, query.shape[2], query.shape[1], query.shape[3])
        ctx.runs, ctx.scale, sums = runs(parts, query), scale, []
        for run in ctx.runs:
            own = slice(run.first.start, run.end)
            states = query[:, :, own], gather(key, run.spans), gather(value, run.spans)
            read, total = _part([_apart(each, run.times) for each in states], run.first, scale)
            out[:, own] = _joined(read).transpose(1, 2)
            sums.append(total)
        ctx.save_for_backward(query, key, value, out, *sums)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        query, key, value, out, *sums = ctx.saved_tensors
        grad_query = torch.empty_like(out).transpose(1, 2)
        grad_key, grad_value = torch.zeros_like(key), torch.zeros_like(value)
        for run, total in zip(ctx.runs, sums, strict=True):
            own = slice(run.first.start, run.end)
            grad, done = grads[0][:, own].transpose(1, 2), out[:, own].transpose(1, 2)
            states = grad, query[:, :, own], gather(key, run.spans), gather(value, run.spans), done
            found = _of_part([_apart(each, run.times) for each in states], total, run.first, ctx.scale)
            of_query, of_key, of_value = map(_joined, found)
            grad_query[:, :, own] = of_query
            _scatter(grad_key, of_key, run.spans)
            _scatter(grad_value, of_value, run.spans)
        return grad_query, grad_key, grad_value, None, None


def _apart(states: Tensor, count: int) -> Tensor:
    """(1, heads, count · L, D) → (count, heads, L, D), a view."""
    return states if count == 1 else states[0].unflatten(1, (count, -1)).transpose(0, 1)


def _joined(states: Tensor) -> Tensor:
    """(count, heads, L, D) → (1, heads, count · L, D)."""
    return states if len(states) == 1 else states.transpose(0, 1).flatten(1, 2)[None]


def _part(states: Sequence[Tensor], part: Part, scale: float | None) -> tuple[Tensor, Tensor | None]:
    """What the queries of a run read, and what the kernel wants to be told in the backward.

    `states` are queries (count, heads, L, D), keys and values (count, kv heads, S, D).
    """
    query, key, value = states
    if attention_blocks.suits(part, query):
        return attention_blocks.forward(query[0], key[0], value[0], part.causal, _scale(query, scale))[None], None
    causal = part.plain and part.causal
    return _forward(query, key, value, 0.0, causal, attn_mask=bias(part, query), scale=scale)


def _of_part(
    states: Sequence[Tensor], total: Tensor | None, part: Part, scale: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of queries, keys and values; `states` are the gradient of what was read, these, and what was read
    then."""
    grad, query, key, value, out = states
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
