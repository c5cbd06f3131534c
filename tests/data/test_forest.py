"""A pack holds its rows: each can be read out of it again, sees itself alone, and counts once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from luthier.data.batch import Batch, pack
from luthier.data.forest import SHORTEST_SHARED_PREFIX, Row, Segment, lay, shared_tokens


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    """Rows put together of few pieces, so that many begin alike, also at several depths; weights anywhere."""
    pieces = draw(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=14), min_size=1, max_size=4))
    counts = st.sampled_from([0.0, 0.0, 0.5, 1.0, 2.0])
    found = []
    for number in range(draw(st.integers(1, 9))):
        chosen = draw(st.lists(st.integers(0, len(pieces) - 1), min_size=1, max_size=4))
        ids = np.array([token for piece in chosen for token in pieces[piece]])
        learnt = draw(st.integers(0, len(ids)))
        tail = draw(st.lists(counts, min_size=learnt, max_size=learnt))
        weights = np.array([0.0] * (len(ids) - learnt) + tail, np.float32)
        weights[0] = 0.0
        found.append(Row(ids, weights, 100 + number))
    return draw(st.permutations(found))


@settings(deadline=None)
@given(rows(), st.booleans())
def test_every_row_lies_in_the_forest_whole_and_in_order(drawn: list[Row], share: bool) -> None:
    forest = lay(drawn, share)
    ids, positions = np.concatenate(forest.ids), np.concatenate(forest.positions)
    for row, place, leaf in zip(drawn, forest.places, forest.leaves, strict=True):
        assert ids[place].tolist() == row.ids.tolist()
        assert positions[place].tolist() == list(range(len(row.ids)))
        assert place.tolist() == [at for start, end in seen(forest.segments, leaf) for at in range(start, end)]
    assert len(set(forest.leaves)) == len(drawn)


@settings(deadline=None)
@given(rows(), st.booleans())
def test_segments_tile_the_pack_with_parents_first(drawn: list[Row], share: bool) -> None:
    batch = pack(drawn, share_prefix=share)
    assert [segment.start for segment in batch.segments] == [0, *(segment.end for segment in batch.segments[:-1])]
    assert batch.segments[-1].end == len(batch.ids_T) == len(batch.positions_T)
    parents = [segment.parent for segment in batch.segments]
    assert all(parent is None or parent < index for index, parent in enumerate(parents))
    assert all(segment.end > segment.start for segment in batch.segments)
    shared = [batch.segments[index] for index in {parent for parent in parents if parent is not None}]
    assert all(segment.end - segment.start >= SHORTEST_SHARED_PREFIX for segment in shared)
    if not share:
        assert set(parents) == {None}
        assert len(batch.ids_T) == batch.tokens


@settings(deadline=None)
@given(rows(), st.booleans())
@example([Row(np.zeros(20, int), np.r_[[0.0] * 12, 1.0, [0.0] * 6, 1.0].astype(np.float32), n) for n in (0, 1)], True)
def test_what_is_learnt_is_what_each_row_learns(drawn: list[Row], share: bool) -> None:
    batch = pack(drawn, share_prefix=share)
    forest = lay(drawn, share)
    assert not (batch.weight_N == 0).any()
    for index, row in enumerate(drawn):
        own = batch.row_N == index
        targets = np.flatnonzero(row.weights[1:]) + 1
        assert batch.target_N[own].tolist() == row.ids[targets].tolist()
        assert batch.weight_N[own].tolist() == row.weights[targets].tolist()
        assert batch.positions_T[batch.source_N[own]].tolist() == (targets - 1).tolist()
        assert batch.source_N[own].tolist() == forest.places[index][targets - 1].tolist()
    sums = torch.tensor([row.weights[1:].sum() for row in drawn])
    torch.testing.assert_close(batch.by_row(batch.weight_N), sums)


@settings(deadline=None)
@given(rows(), st.booleans())
def test_counts_are_of_the_rows_and_not_of_the_pack(drawn: list[Row], share: bool) -> None:
    batch = pack(drawn, share_prefix=share)
    assert batch.tokens == sum(len(row.ids) for row in drawn) >= len(batch.ids_T)
    assert batch.lengths_R.tolist() == [len(row.ids) for row in drawn]
    assert batch.numbers_R.tolist() == [row.number for row in drawn]
    assert batch.ids_T[batch.last_R].tolist() == [row.ids[-1] for row in drawn]
    assert batch.positions_T[batch.last_R].tolist() == [len(row.ids) - 1 for row in drawn]
    assert len(set(batch.last_R.tolist())) == batch.rows


@settings(deadline=None)
@given(rows())
def test_two_rows_share_what_both_have_and_neither_learns(drawn: list[Row]) -> None:
    for left, right in pairwise(drawn):
        common = shared_tokens(left, right)
        assert common == shared_tokens(right, left)
        assert left.ids[:common].tolist() == right.ids[:common].tolist()
        for row in (left, right):
            assert common < len(row.ids)
            assert not row.weights[1 : common + 1][: max(0, common - 1)].any()


def test_a_long_beginning_is_laid_once() -> None:
    start = np.arange(40)
    alike = [Row(np.r_[start, 90 + n, 95], np.r_[[0.0] * 40, 1, 1].astype(np.float32), n) for n in range(8)]
    batch = pack(alike, share_prefix=True)
    assert len(batch.ids_T) == 40 + 8 * 2
    assert batch.segments[0] == Segment(0, 40, None)
    assert {segment.parent for segment in batch.segments[1:]} == {0}
    first = batch.source_N[batch.positions_T[batch.source_N] == 39]
    assert first.tolist() == [39] * 8


def test_a_batch_moves_with_all_it_has() -> None:
    batch = pack([Row(np.arange(5), np.ones(5, np.float32), 3)], {"label": np.arange(4)})
    moved = batch.to("meta")
    tensors = {name: value for name in Batch.__slots__ if isinstance(value := getattr(moved, name), torch.Tensor)}
    assert len(tensors) == 9
    assert {value.device.type for value in (*tensors.values(), moved.column("label"))} == {"meta"}
    assert moved.segments == batch.segments


def seen(segments: list[Segment], leaf: int) -> list[tuple[int, int]]:
    """The spans from the root to a row's own segment."""
    start, end, parent, _ = segments[leaf]
    return [*([] if parent is None else seen(segments, parent)), (start, end)]
