"""Attention over a packed batch on a GPU: one kernel for all segments instead of one for each.

Rows that share nothing are what FlashAttention's kernel for lengths of any kind takes (Dao 2023, arXiv:2307.08691).
Whatever else a pack is (rows that continue a common beginning, sliding windows, float32) goes to FlexAttention (Dong
et al. 2024, arXiv:2412.05496) with a mask made of the forest: of each block of queries, which blocks of keys any of
them sees, and, inside the blocks that are seen in part, a rule for each pair. What a pack needs is made once for all
layers.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from luthier.data.forest import Segment
from luthier.models.forest_mask import BLOCK, Tokens, seen_blocks, tokens_of

HALF = (torch.bfloat16, torch.float16)
WIDEST_HEAD = 256
Way = Literal["varlen", "flex", "parts"]


class Pack(NamedTuple):
    """The forest of a batch, and how its attention looks at it. The first `unasked` keys have no queries."""

    segments: tuple[Segment, ...]
    causal: bool
    window: int | None
    unasked: int = 0


def way_of(pack: Pack, query: Tensor, value: Tensor, dropout: float) -> Way:
    """Which kernel takes query (1, heads, T, D) and value (1, kv heads, S, D'); `parts` is one call a segment."""
    width = query.shape[3]
    if query.device.type != "cuda" or dropout or width != value.shape[3] or width > WIDEST_HEAD:
        return "parts"
    alone = all(segment.parent is None for segment in pack.segments)
    if alone and not pack.unasked and query.dtype in HALF and width % 8 == 0:
        return "varlen"
    return "flex" if query.dtype in (*HALF, torch.float32) else "parts"


def attend(way: Way, pack: Pack, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    """query (1, heads, T, D), key and value (1, kv heads, S, D) → (1, T, heads, D)."""
    return (_varlen if way == "varlen" else _flex)(pack, query, key, value, scale)


def _varlen(pack: Pack, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    ends, longest = _ends(pack.segments, query.device)
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    out = varlen_attn(q, k, v, ends, ends, longest, longest, scale=scale, window_size=window_of(pack),
                      enable_gqa=query.shape[1] != key.shape[1])  # fmt: skip
    assert isinstance(out, Tensor)
    return out[None]


def window_of(pack: Pack) -> tuple[int, int]:
    """How many keys before and after its own place a query sees, as FlashAttention counts; -1: all."""
    reach = -1 if pack.window is None else pack.window - 1
    return reach, 0 if pack.causal else reach


@lru_cache(maxsize=4)
def _ends(segments: tuple[Segment, ...], device: torch.device) -> tuple[Tensor, int]:
    """Where segments end, after a 0, (segments + 1,) int32, and the longest of them."""
    ends = torch.tensor([0, *(segment.end for segment in segments)], dtype=torch.int32).to(device, non_blocking=True)
    return ends, max(segment.end - segment.start for segment in segments)


def _flex(pack: Pack, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    kernel = _compiled() if query.device.type == "cuda" else flex_attention
    found = kernel(query, key, value, block_mask=mask_of(pack, query.device), scale=scale,
                   enable_gqa=query.shape[1] != key.shape[1])  # fmt: skip
    return found.transpose(1, 2)


@cache
def _compiled() -> Any:
    """Packs differ in length: one kernel for all of them."""
    return torch.compile(flex_attention, dynamic=True)


@lru_cache(maxsize=4)
def mask_of(pack: Pack, device: torch.device) -> BlockMask:
    """Which keys (S of them) each query (T) of the pack sees."""
    tokens = tokens_of(pack.segments)
    some, whole = seen_blocks(pack.segments, pack.causal, pack.window, pack.unasked)
    keys = pack.segments[-1].end
    return BlockMask.from_kv_blocks(
        *_listed(some & ~whole, device), *_listed(whole, device), BLOCK_SIZE=BLOCK,
        mask_mod=_rule(pack, tokens, device), seq_lengths=(keys - pack.unasked, keys),
    )  # fmt: skip


def _listed(blocks: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    """Of each block of queries, how many blocks of keys are marked, and their numbers, before those of the others."""
    counts, order = blocks.sum(1, dtype=np.int32), np.argsort(~blocks, 1, kind="stable").astype(np.int32)
    return torch.from_numpy(counts)[None, None].to(device), torch.from_numpy(order)[None, None].to(device)


def _rule(pack: Pack, tokens: Tokens, device: torch.device) -> Any:
    """Whether a query sees a key; the numbers of tokens are padded to whole blocks, as kernels look at whole blocks."""
    enters, leaves, place = (torch.from_numpy(values).to(device) for values in tokens)

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        asks = query + pack.unasked
        seen = (enters[key] <= enters[asks]) & (enters[asks] < leaves[key])
        age = place[asks] - place[key]
        if pack.causal:
            seen = seen & (age >= 0)
        if pack.window is not None:
            seen = seen & (age.abs() < pack.window)
        return seen

    return sees
