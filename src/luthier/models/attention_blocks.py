"""Exact attention of one segment on a CPU as matrix products: a block of queries at a time, with all keys it may see.

PyTorch's kernel multiplies blocks of 32 or 64 queries of one head. Here the heads that share their keys (grouped-query
attention, Ainslie et al. 2023, arXiv:2305.13245) are multiplied with them together, so that products are larger. As in
FlashAttention-2 (Dao 2023, arXiv:2307.08691) the probabilities of a block are made again in the backward.

Shapes: K heads of keys, each read by G heads of queries; L queries, S keys, the last L of them the queries' own; D.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

from luthier.models.visible import Part

BLOCK = 64
"""Queries of a block: keys that are hidden from some of them cost as much as others, and small products are slow."""
FEWEST, MOST = 192, 2048
"""Queries for which this is faster than the kernel."""


def suits(part: Part, query: Tensor) -> bool:
    """Whether a segment is better done here than by PyTorch's kernel."""
    return query.dtype == torch.float32 and part.window is None and FEWEST <= part.end - part.start <= MOST


def forward(query: Tensor, key: Tensor, value: Tensor, causal: bool, scale: float) -> Tensor:
    """query (K · G, L, D), key and value (K, S, D) → (K · G, L, D)."""
    near = _near(query, len(key)).mul_(scale)
    out = torch.empty_like(near)
    for rows, keys in _blocks(query, key, causal):
        shares = _shares(near[:, rows], key[:, keys], causal, len(query) // len(key))
        out[:, rows] = torch.bmm(shares, value[:, keys])
    return _far(out, query)


def backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, causal: bool, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of query, key and value, given that of `forward`."""
    near, slope = _near(query, len(key)).mul_(scale), _near(grad, len(key))
    of_near, of_key, of_value = torch.empty_like(near), torch.zeros_like(key), torch.zeros_like(value)
    for rows, keys in _blocks(query, key, causal):
        shares = _shares(near[:, rows], key[:, keys], causal, len(query) // len(key))
        of_value[:, keys].baddbmm_(shares.mT, slope[:, rows])
        of_shares = torch.bmm(slope[:, rows], value[:, keys].mT)
        of_scores = torch._softmax_backward_data(of_shares, shares, -1, shares.dtype)
        of_near[:, rows] = torch.bmm(of_scores, key[:, keys])
        of_key[:, keys].baddbmm_(of_scores.mT, near[:, rows])
    return _far(of_near.mul_(scale), query), of_key, of_value


def _shares(near: Tensor, key: Tensor, causal: bool, group: int) -> Tensor:
    """What each query takes of each value: (K, queries · G, keys)."""
    scores = torch.bmm(near, key.mT)
    if causal:
        queries = near.shape[1] // group
        scores.unflatten(1, (queries, group))[..., -queries:] += _later(queries)[:, None]
    return torch.softmax(scores, -1)


def _blocks(query: Tensor, key: Tensor, causal: bool) -> Iterator[tuple[slice, slice]]:
    """Which rows of `_near` are done together, and the keys that they see."""
    queries, group, keys = query.shape[1], len(query) // len(key), key.shape[1]
    size = -(-queries // max(1, round(queries / BLOCK)))
    for start in range(0, queries, size):
        end = min(start + size, queries)
        yield slice(start * group, end * group), slice(0, keys - queries + end if causal else keys)


def _near(heads: Tensor, shared: int) -> Tensor:
    """(K · G, L, D) → (K, L · G, D), a copy: what reads the same keys at the same place lies together."""
    return heads.unflatten(0, (shared, -1)).transpose(1, 2).flatten(1, 2).clone(memory_format=torch.contiguous_format)


def _far(near: Tensor, like: Tensor) -> Tensor:
    """`_near` undone."""
    return near.unflatten(1, (like.shape[1], -1)).transpose(1, 2).flatten(0, 1)


@lru_cache(maxsize=2 * BLOCK)
def _later(queries: int) -> Tensor:
    """What is added to the scores of so many queries and their own keys: -inf for keys that come later."""
    return torch.full((queries, queries), -torch.inf).triu_(1)
