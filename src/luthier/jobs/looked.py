"""A look at the steps that a fit will take, before it takes them: its heaviest micro-batches, and its usual ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapreplace

import numpy as np

from luthier.data.batch import Batch
from luthier.data.stream import Interleaved, Stream
from luthier.engine import world
from luthier.engine.fsdp import Even
from luthier.engine.loop import Source
from luthier.engine.private import Draws
from luthier.engine.rollouts import Rollouts
from luthier.jobs.feeds.feed import Feed
from luthier.jobs.operations import Operations

USUAL, HEAVY, SCANNED, LIGHT = 24, 4, 2000, 4
"""Steps whose batches are laid out as a sample, and as candidates for the heaviest; steps whose rows are looked at; the
heaviest micro-batch over a light one."""


@dataclass(frozen=True)
class Looked:
    """What was seen.

    `small` is a row of usual length or a light micro-batch, `light` one with about a quarter of the most tokens;
    `heavy` are the heaviest, at most as many as lanes; `usual` those of a sample of steps, in their order. `longest`
    is the most tokens of what cannot be cut, `tokens` the most of a micro-batch. `step_operations` are those for which
    all lanes together have time in a mean step, `taking_seconds` what making batches takes once, `step_seconds` that of
    a mean step.
    """

    small: Batch
    light: Batch
    heavy: tuple[Batch, ...]
    usual: tuple[Batch, ...]
    longest: int
    tokens: int
    step_operations: float
    taking_seconds: float
    step_seconds: float


def look(feed: Feed, steps: int, lanes: int, operations: Operations) -> Looked:
    """Lay out a sample of the `steps` of a fit, and those that have the longest rows or the most tokens.

    Of answers that are sampled only the first step exists; it is kept for the fit, as the weights are those of step 0.
    """
    sampled = isinstance(feed.source, Rollouts)
    sample = [0] if sampled else sorted({int(step) for step in np.linspace(0, steps - 1, USUAL)})
    start = time.perf_counter()
    taken = [feed.source.take(step) for step in sample]
    seconds = (time.perf_counter() - start) / len(sample)
    each = [in_lanes(batches, lanes, operations) for batches in taken]
    if isinstance(feed.source, Even):  # a step is done when the last rank is
        each = [max(ranks) for ranks in zip(*world.gathered(each), strict=True)]
    usual = [batch for batches in taken for batch in batches]
    others = [] if sampled else _heavy_steps(feed, steps)
    every = [*_rows(feed, sample, 1), *usual, *(batch for step in others for batch in feed.source.take(step))]
    every.sort(key=_tokens)
    longest = 0 if feed.lengths is None else int(feed.lengths.max())
    seen = bool(others) and steps <= SCANNED
    tokens = _tokens(every[-1]) if seen else max(_tokens(every[-1]), longest)
    light = _rows(feed, sample, lanes * tokens // LIGHT) or every[:1]
    return Looked(
        small=(_rows(feed, sample, 1) or every)[0], light=max(light, key=_tokens), heavy=tuple(every[-lanes:]),
        usual=tuple(usual), longest=longest, tokens=tokens,
        step_operations=sum(each) / len(sample),
        taking_seconds=seconds,
        step_seconds=seconds / (feed.source.settings.num_iterations if isinstance(feed.source, Rollouts) else 1),
    )  # fmt: skip


def in_lanes(batches: Sequence[Batch], lanes: int, operations: Operations) -> float:
    """The operations for which all lanes together have time until these batches of a step are done: each goes, in their
    order, to the lane that is free first, and lanes without any wait. A single one has all cores."""
    if len(batches) == 1:
        return operations(batches[0])
    busy = [0.0] * lanes
    for batch in batches:
        heapreplace(busy, busy[0] + operations(batch))
    return lanes * max(busy)


def _tokens(batch: Batch) -> int:
    """Those that are computed; a shared beginning counts once."""
    return len(batch.ids_T)


def _heavy_steps(feed: Feed, steps: int) -> list[int]:
    """The steps with the longest rows, and those with the most tokens."""
    stream = feed.source.streams[0] if isinstance(feed.source, Interleaved) else _evenly(feed)
    if feed.lengths is None or not isinstance(stream, Stream | Draws):
        return []
    scanned = range(min(steps, SCANNED))
    rows = [feed.lengths[np.array(stream.numbers(step), np.int64)] for step in scanned]
    by_longest = sorted(scanned, key=lambda step: -rows[step].max(initial=0))
    by_tokens = sorted(scanned, key=lambda step: -rows[step].sum())
    return sorted({*by_longest[:HEAVY], *by_tokens[:HEAVY]})


def _rows(feed: Feed, sample: Sequence[int], tokens: int) -> list[Batch]:
    """Rows of usual length from these steps with so many tokens, at least one; nothing where rows are not known
    beforehand. Of rows that no step has, what the objective needs may not be there."""
    stream = _evenly(feed)
    if feed.lengths is None or not isinstance(stream, Stream | Draws):
        return []
    numbers = np.unique([number for step in sample for number in stream.numbers(step)]).astype(np.int64)
    numbers = numbers if len(numbers) else np.arange(len(feed.lengths))  # private steps that drew no row
    middle = numbers[np.argsort(feed.lengths[numbers], kind="stable")][len(numbers) // 2 :]
    alone = isinstance(stream, Draws)
    count = 1 if alone else 1 + int(np.searchsorted(np.cumsum(feed.lengths[middle]), tokens))
    return stream.make(middle[:count].tolist())


def _evenly(feed: Feed) -> Source:
    """Where the rows come from, whether or not each rank is given as many micro-batches."""
    return feed.source.stream if isinstance(feed.source, Even) else feed.source
