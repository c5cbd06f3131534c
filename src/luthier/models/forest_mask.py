"""What the tokens of a forest may see, as numbers of each token and as blocks of tokens, in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from luthier.data.forest import Segment
from luthier.models.visible import ancestry

BLOCK = 128
"""Tokens a block."""


class Tokens(NamedTuple):
    """Of each token, up to whole blocks: when a walk through its tree enters its segment, when it has left the segment
    and all that continue it, and its place in its row, (tokens,) int32 each.

    A token of segment b sees segment a exactly where b is entered while the walk is in a. Padding sees nothing and is
    seen by nothing.
    """

    enters: np.ndarray
    leaves: np.ndarray
    place: np.ndarray


def tokens_of(segments: Sequence[Segment]) -> Tokens:
    """The numbers of all tokens; parents stand before those that continue them, in any other order."""
    enters, leaves = _walk(segments)
    first = first_places(segments)
    size = -(-segments[-1].end // BLOCK) * BLOCK
    found = Tokens(np.full(size, -1, np.int32), np.full(size, -1, np.int32), np.zeros(size, np.int32))
    for number, (start, end, *_) in enumerate(segments):
        found.enters[start:end], found.leaves[start:end] = enters[number], leaves[number]
        found.place[start:end] = np.arange(first[number], first[number] + end - start)
    return found


def first_places(segments: Sequence[Segment]) -> list[int]:
    """The place in its row of each segment's first token."""
    found: list[int] = []
    for segment in segments:
        parent = segment.parent
        before = 0 if parent is None else found[parent] + segments[parent].end - segments[parent].start
        found.append(before)
    return found


def _walk(segments: Sequence[Segment]) -> tuple[list[int], list[int]]:
    below = [1] * len(segments)  # segments of the tree below each, itself included
    for number in range(len(segments) - 1, -1, -1):
        parent = segments[number].parent
        if parent is not None:
            below[parent] += below[number]
    enters, following, roots = [0] * len(segments), [0] * len(segments), 0
    for number, segment in enumerate(segments):
        if segment.parent is None:
            enters[number], roots = roots, roots + below[number]
        else:
            enters[number] = following[segment.parent]
            following[segment.parent] += below[number]
        following[number] = enters[number] + 1
    return enters, [start + size for start, size in zip(enters, below, strict=True)]


def seen_blocks(
    segments: Sequence[Segment], causal: bool, window: int | None, unasked: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of each block of queries and block of keys, whether any query sees any key, and whether all see all.

    The first `unasked` keys, a whole segment, have no queries: query 0 is token `unasked`.
    """
    keys = segments[-1].end
    shape = (-(-(keys - unasked) // BLOCK), -(-keys // BLOCK))
    some, whole = np.zeros(shape, bool), np.zeros(shape, bool)
    first = first_places(segments)
    starts = {segment.start: place for segment, place in zip(segments, first, strict=True)}
    for number in range(1 if unasked else 0, len(segments)):
        own = segments[number]
        for span in ancestry(segments, own):
            asks = (own.start - unasked, own.end - unasked)
            older = first[number] - asks[0] - (starts[span[0]] - span[0])
            _mark(some, whole, asks, span, older, causal, window)
    return some, whole


def _mark(
    some: np.ndarray, whole: np.ndarray, asks: tuple[int, int], span: tuple[int, int], older: int, causal: bool,
    window: int | None,
) -> None:  # fmt: skip
    """Mark what queries `asks` see of the keys `span`; query q is q - k + `older` places behind key k."""
    rows, columns = _blocks(*asks), _blocks(*span)
    q_first, q_last = np.maximum(rows * BLOCK, asks[0])[:, None], np.minimum(rows * BLOCK + BLOCK, asks[1])[:, None] - 1
    k_first, k_last = np.maximum(columns * BLOCK, span[0]), np.minimum(columns * BLOCK + BLOCK, span[1]) - 1
    least, most = q_first - k_last + older, q_last - k_first + older
    low, high = (0 if causal else -np.inf), np.inf
    if window is not None:
        low, high = (0 if causal else 1 - window), window - 1
    any_seen = (most >= low) & (least <= high)
    covered = (q_last - q_first == BLOCK - 1) & (k_last - k_first == BLOCK - 1)
    all_seen = covered & (least >= low) & (most <= high)
    some[np.ix_(rows, columns)] |= any_seen
    whole[np.ix_(rows, columns)] |= all_seen


def _blocks(start: int, end: int) -> np.ndarray:
    return np.arange(start // BLOCK, -(-end // BLOCK))
