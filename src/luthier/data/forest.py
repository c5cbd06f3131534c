"""Rows laid out as a forest: what neighbours begin with is laid once, and each row continues it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np

SHORTEST_SHARED_PREFIX = 8
"""Tokens; a shorter common beginning is not worth a segment of its own."""


class Segment(NamedTuple):
    """Tokens `start` to `end` (exclusive) of the pack; `parent` is the index of the segment it continues.

    `adapter` is the one that its tokens pass, in a policy that holds several; None for the base.
    """

    start: int
    end: int
    parent: int | None = None
    adapter: str | None = None


def rooted(segments: Sequence[Segment], tokens: int) -> tuple[Segment, ...]:
    """The same forest as one tree: all rows continue a new first segment of so many tokens."""
    moved = (
        s._replace(start=s.start + tokens, end=s.end + tokens, parent=0 if s.parent is None else s.parent + 1)
        for s in segments
    )
    return (Segment(0, tokens), *moved)


def repeated(segments: Sequence[Segment], tokens: int) -> tuple[Segment, ...]:
    """The same rows, none of which shares anything, each with so many tokens more before its own."""
    assert all(segment.parent is None for segment in segments)
    return tuple(s._replace(start=s.start + i * tokens, end=s.end + (i + 1) * tokens) for i, s in enumerate(segments))


@dataclass(frozen=True, slots=True)
class Row:
    """One rendered row: token ids (L,), the weight of predicting each of them (L,), and its number in the data.

    `adapter` names the one it passes, in a policy that holds several; None for the base.
    """

    ids: np.ndarray
    weights: np.ndarray
    number: int
    adapter: str | None = None


@dataclass
class Forest:
    """Segments, parents first; ids and positions of each; and by row, its last segment and where its tokens lie."""

    segments: list[Segment] = field(default_factory=list)
    ids: list[np.ndarray] = field(default_factory=list)
    positions: list[np.ndarray] = field(default_factory=list)
    leaves: list[int] = field(default_factory=list)
    places: list[np.ndarray] = field(default_factory=list)

    def add(self, row: Row, first: int, last: int, parent: int | None) -> int:
        """Lay tokens `first` to `last` (exclusive) of a row as a new segment; its index."""
        start = self.segments[-1].end if self.segments else 0
        self.segments.append(Segment(start, start + last - first, parent, row.adapter))
        self.ids.append(row.ids[first:last])
        self.positions.append(np.arange(first, last))
        return len(self.segments) - 1


def lay(rows: Sequence[Row], share_prefix: bool) -> Forest:
    """Lay rows end to end, in their order; with `share_prefix`, as a forest of what neighbours begin with."""
    forest = Forest()
    shared = [shared_tokens(*pair) if share_prefix else 0 for pair in pairwise(rows)]
    _grow(forest, rows, shared, range(len(rows)), 0, None, [])
    return forest


def shared_tokens(left: Row, right: Row) -> int:
    """Tokens that two rows begin with and neither learns; none where they pass different adapters.

    Each keeps at least one token of its own, and a target inside the shared part would be learnt once instead of
    once for each row, so the part ends before the first of them.
    """
    if left.adapter != right.adapter:
        return 0
    limit = min(len(left.ids) - 1, len(right.ids) - 1)
    limit = _first(left.ids[:limit] != right.ids[:limit], limit)
    return min(_first(row.weights[1:limit] != 0, limit - 1) + 1 for row in (left, right)) if limit else 0


def _grow(
    forest: Forest, rows: Sequence[Row], shared: Sequence[int], numbers: range, done: int, parent: int | None,
    place: list[np.ndarray],
) -> None:  # fmt: skip
    """Lay the rest of rows that agree on their first `done` tokens; `place` says where those lie."""
    first = rows[numbers[0]]
    alone = len(numbers) == 1
    common = len(first.ids) if alone else min(shared[i] for i in numbers[:-1])
    if alone or common - done >= SHORTEST_SHARED_PREFIX:
        parent = forest.add(first, done, common, parent)
        done, place = common, [*place, np.arange(*forest.segments[parent][:2])]
    if alone:
        forest.leaves.append(len(forest.segments) - 1)
        forest.places.append(np.concatenate(place))
        return
    start = numbers[0]
    for i in numbers:
        if i == numbers[-1] or shared[i] - done < SHORTEST_SHARED_PREFIX:
            _grow(forest, rows, shared, range(start, i + 1), done, parent, place)
            start = i + 1


def _first(found: np.ndarray, otherwise: int) -> int:
    """Where the first True is."""
    place = int(found.argmax()) if len(found) else 0
    return place if len(found) and found[place] else otherwise
