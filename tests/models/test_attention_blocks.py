"""Attention by blocks of queries: the same numbers and gradients as written out in one piece."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from luthier.models import attention_blocks, attention_cpu
from luthier.models.visible import Part

HEADS, SHARED, WIDTH = 6, 2, 4


def drawn(queries: int, keys: int) -> list[Tensor]:
    """A query, a key, a value, and a gradient."""
    torch.manual_seed(queries + keys)
    shapes = [(HEADS, queries), (SHARED, keys), (SHARED, keys), (HEADS, queries)]
    return [torch.randn(heads, length, WIDTH, dtype=torch.float64, requires_grad=True) for heads, length in shapes]


def written_out(query: Tensor, key: Tensor, value: Tensor, causal: bool, scale: float) -> Tensor:
    """softmax(q kᵀ · scale) v with every head's own keys."""
    key, value = (each.repeat_interleave(HEADS // SHARED, 0) for each in (key, value))
    scores = scale * query @ key.mT
    if causal:
        hidden = torch.ones(scores.shape[1:], dtype=torch.bool).triu(1 + key.shape[1] - query.shape[1])
        scores = scores.masked_fill(hidden, -torch.inf)
    return scores.softmax(-1) @ value


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("queries", "before"), [(1, 0), (64, 0), (150, 0), (150, 37), (3, 200)])
def test_as_written_out(queries: int, before: int, causal: bool) -> None:
    query, key, value, grad = drawn(queries, queries + before)
    wanted = written_out(query, key, value, causal, 0.3)
    gradients = torch.autograd.grad(wanted, (query, key, value), grad)
    with torch.no_grad():
        own = attention_blocks.forward(query, key, value, causal, 0.3)
        found = attention_blocks.backward(grad, query, key, value, causal, 0.3)
    for one, other in zip((own, *found), (wanted, *gradients), strict=True):
        torch.testing.assert_close(one, other.detach(), rtol=1e-12, atol=1e-12)


def test_segments_are_done_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 450, heads, 8).transpose(1, 2).requires_grad_() for heads in (6, 2, 2))
    spans = [[(0, 200)], [(0, 200), (200, 250)], [(0, 200), (250, 450)]]
    parts = [Part(*own[-1], own, sum(end - start for start, end in own), True, None) for own in spans]
    assert [attention_blocks.suits(part, query) for part in parts] == [True, False, True]

    def done() -> list[Tensor]:
        out = attention_cpu.attend(query, key, value, parts, None)
        return [out, *torch.autograd.grad(out.sin().sum(), (query, key, value))]

    blocks = done()
    monkeypatch.setattr(attention_blocks, "suits", lambda *_: False)
    for one, other in zip(blocks, done(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_windows_and_other_numbers_are_left_to_the_kernel() -> None:
    whole = Part(0, 300, [(0, 300)], 300, True, None)
    assert attention_blocks.suits(whole, torch.zeros(1, 1, 300, 8))
    assert not attention_blocks.suits(whole._replace(window=64), torch.zeros(1, 1, 300, 8))
    assert not attention_blocks.suits(whole, torch.zeros(1, 1, 300, 8, dtype=torch.bfloat16))
    assert not attention_blocks.suits(whole._replace(end=50), torch.zeros(1, 1, 50, 8))


@pytest.mark.parametrize("causal", [True, False])
def test_neighbours_of_one_length_are_done_together(causal: bool) -> None:
    torch.manual_seed(0)
    lengths = [7, 7, 7, 5, 7, 5, 5]
    ends = [sum(lengths[: i + 1]) for i in range(len(lengths))]
    query, key, value = (torch.randn(1, ends[-1], heads, 8).transpose(1, 2).requires_grad_() for heads in (6, 2, 2))
    parts = [Part(e - n, e, [(e - n, e)], n, causal, None) for n, e in zip(lengths, ends, strict=True)]
    parts.append(Part(ends[-1], ends[-1] + 5, [(0, 7), (ends[-1], ends[-1] + 5)], 12, causal, None))  # sees more
    assert [run.times for run in attention_cpu.runs(parts[:-1], query)] == [3, 1, 1, 2]
    assert [run.times for run in attention_cpu.runs(parts[-2:], query)] == [1, 1]

    together = attention_cpu.attend(query, key, value, parts[:-1], 0.3)
    alone = torch.cat([
        attention_cpu.attend(query[:, :, p.start : p.end], key[:, :, p.start : p.end], value[:, :, p.start : p.end],
                             [Part(0, p.keys, [(0, p.keys)], p.keys, causal, None)], 0.3)
        for p in parts[:-1]
    ], 1)  # fmt: skip
    found, wanted = ([out, *torch.autograd.grad(out.sin().sum(), (query, key, value))] for out in (together, alone))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
