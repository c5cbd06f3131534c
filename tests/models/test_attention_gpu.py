"""The masks and choices of the GPU's attention, held to that of each segment by itself; the kernels need a GPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from luthier.data.forest import Segment, rooted
from luthier.models.attention import packed_attention
from luthier.models.attention_gpu import Pack, attend, mask_of, way_of, window_of
from luthier.models.forest_mask import BLOCK, seen_blocks

FLAT = (Segment(0, 90), Segment(90, 300), Segment(300, 301), Segment(301, 420))
SHARED = (Segment(0, 150), Segment(150, 200, 0), Segment(200, 430, 0), Segment(430, 500), Segment(500, 560, 3))
DEEP = (Segment(0, 130), Segment(130, 260, 0), Segment(260, 300, 1), Segment(300, 700, 1), Segment(700, 710, 0))
MIXED = (Segment(0, 40), Segment(40, 100), Segment(100, 260, 0), Segment(260, 300, 1), Segment(300, 420, 2))
"""Siblings do not stand beside their parents."""
PACKS = {
    "flat": Pack(FLAT, True, None),
    "shared": Pack(SHARED, True, None),
    "deep": Pack(DEEP, True, None),
    "mixed": Pack(MIXED, True, None),
    "one block": Pack((Segment(0, 20), Segment(20, 30, 0)), True, None),
    "both ways": Pack(FLAT, False, None),
    "window": Pack(DEEP, True, 70),
    "wide window": Pack(SHARED, True, 300),
    "window, both ways": Pack(FLAT, False, 60),
    "prefix": Pack(rooted(FLAT, 9), True, None, 9),
    "prefix and window": Pack(rooted(SHARED, 9), True, 50, 9),
    "prefix, both ways": Pack(rooted(FLAT, 9), False, None, 9),
}


def states(pack: Pack, width: int = 8, heads: int = 4, kv_heads: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    draw, keys = torch.Generator().manual_seed(0), pack.segments[-1].end
    sizes = ((heads, keys - pack.unasked), (kv_heads, keys), (kv_heads, keys))
    query, key, value = (torch.randn(1, count, tokens, width, generator=draw) for count, tokens in sizes)
    return query, key, value


def by_segment(pack: Pack, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The attention that all families are held to."""
    module = nn.Module()
    module.is_causal, module.layer_idx = pack.causal, 0  # type: ignore[assignment]
    prefix = None
    if pack.unasked:
        prefix = torch.stack([key[0, :, : pack.unasked], value[0, :, : pack.unasked]])[None]
        key, value = key[:, :, pack.unasked :], value[:, :, pack.unasked :]
    out, _ = packed_attention(module, query, key, value, None, segments=pack.segments, sliding_window=pack.window,
                              prefix=prefix)  # fmt: skip
    return out


def visible(pack: Pack) -> np.ndarray:
    """(queries, keys): what each sees, pair by pair."""
    place: dict[int, int] = {}
    owner = {t: i for i, s in enumerate(pack.segments) for t in range(s.start, s.end)}
    chains = []
    for number, segment in enumerate(pack.segments):
        chain = {number} if segment.parent is None else chains[segment.parent] | {number}
        chains.append(chain)
        before = 0 if segment.parent is None else place[pack.segments[segment.parent].end - 1] + 1
        place |= {t: before + t - segment.start for t in range(segment.start, segment.end)}
    keys = pack.segments[-1].end
    seen = np.zeros((keys - pack.unasked, keys), bool)
    for q in range(len(seen)):
        for k in range(keys):
            age = place[q + pack.unasked] - place[k]
            seen[q, k] = (owner[k] in chains[owner[q + pack.unasked]] and (age >= 0 or not pack.causal)
                          and (pack.window is None or abs(age) < pack.window))  # fmt: skip
    return seen


@pytest.mark.parametrize("name", PACKS)
def test_the_mask_of_a_forest_shows_what_its_segments_show(name: str) -> None:
    pack = PACKS[name]
    own = states(pack)
    torch.testing.assert_close(attend("flex", pack, *own, None), by_segment(pack, *own), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", PACKS)
def test_blocks_are_those_that_hold_what_is_seen(name: str) -> None:
    pack = PACKS[name]
    seen = visible(pack)
    some, whole = seen_blocks(pack.segments, pack.causal, pack.window, pack.unasked)
    for row in range(some.shape[0]):
        for column in range(some.shape[1]):
            block = seen[row * BLOCK :, column * BLOCK :][:BLOCK, :BLOCK]
            assert some[row, column] == block.any(), (row, column)
            assert not whole[row, column] or (block.all() and block.shape == (BLOCK, BLOCK))
    mask = mask_of(pack, torch.device("cpu"))
    assert (mask.to_dense()[0, 0].bool().numpy() == some).all()


def test_blocks_that_are_seen_wholly_need_no_rule() -> None:
    some, whole = seen_blocks((Segment(0, 512), Segment(512, 1024, 0)), True, None, 0)
    assert some.sum() == 36
    assert whole.sum() == 28  # all but those on the diagonal


@pytest.mark.parametrize("name", ["flat", "both ways", "window, both ways"])
def test_the_window_is_counted_as_flash_attention_counts_it(name: str) -> None:
    pack = PACKS[name]
    before, after = window_of(pack)
    query, key, value = states(pack)
    found = []
    for start, end, *_ in pack.segments:
        age = torch.arange(end - start)[:, None] - torch.arange(end - start)
        seen = ((before < 0) | (age <= before)) & ((after < 0) | (age >= -after))
        part = [s[:, :, start:end] for s in (query, key, value)]
        found.append(nn.functional.scaled_dot_product_attention(*part, attn_mask=seen, enable_gqa=True))
    wanted = by_segment(pack, query, key, value)
    torch.testing.assert_close(torch.cat(found, 2).transpose(1, 2), wanted, rtol=1e-4, atol=1e-5)


def like(device: str = "cuda", dtype: torch.dtype = torch.bfloat16, width: int = 64) -> Any:
    return SimpleNamespace(device=torch.device(device), dtype=dtype, shape=(1, 4, 420, width))


@pytest.mark.parametrize(
    ("pack", "query", "value", "dropout", "way"),
    [
        ("flat", like(), like(), 0.0, "varlen"),
        ("both ways", like(dtype=torch.float16), like(), 0.0, "varlen"),
        ("window, both ways", like(), like(), 0.0, "varlen"),
        ("flat", like(dtype=torch.float32), like(), 0.0, "flex"),
        ("flat", like(width=36), like(width=36), 0.0, "flex"),
        ("shared", like(), like(), 0.0, "flex"),
        ("window", like(), like(), 0.0, "flex"),
        ("prefix", like(), like(), 0.0, "flex"),
        ("flat", like(), like(), 0.1, "parts"),
        ("flat", like(width=512), like(width=512), 0.0, "parts"),
        ("flat", like(width=192), like(width=128), 0.0, "parts"),
        ("flat", like(dtype=torch.float64), like(dtype=torch.float64), 0.0, "parts"),
        ("flat", like("cpu"), like("cpu"), 0.0, "parts"),
    ],
)
def test_which_kernel_takes_a_pack(pack: str, query: Any, value: Any, dropout: float, way: str) -> None:
    assert way_of(PACKS[pack], query, value, dropout) == way


def test_a_pack_is_masked_once_for_all_layers() -> None:
    one, two = (mask_of(Pack(tuple(SHARED), True, None), torch.device("cpu")) for _ in range(2))
    assert one is two
    assert mask_of(Pack(SHARED, True, 7), torch.device("cpu")) is not one


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("name", PACKS)
def test_on_a_gpu_outputs_and_gradients_are_those_of_each_segment(name: str, dtype: torch.dtype) -> None:
    pack = PACKS[name]
    own = [s.requires_grad_() for s in states(pack, width=64)]
    moved = [s.detach().to("cuda", dtype).requires_grad_() for s in own]
    way = way_of(pack, moved[0], moved[2], 0.0)
    assert way == ("varlen" if all(s.parent is None for s in pack.segments) and dtype != torch.float32 else "flex")
    wanted, found = by_segment(pack, *own), attend(way, pack, *moved, None)
    off = 1e-4 if dtype == torch.float32 else 3e-2
    torch.testing.assert_close(found.float().cpu(), wanted, rtol=off, atol=off)
    slope = torch.randn_like(wanted)
    for one, two in zip(torch.autograd.grad(wanted, own, slope),
                        torch.autograd.grad(found, moved, slope.to("cuda", dtype)), strict=True):  # fmt: skip
        torch.testing.assert_close(two.float().cpu(), one, rtol=off, atol=3 * off)
