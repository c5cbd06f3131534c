"""Micro-batches of a fit are tried, the heaviest first, and smaller ones where they do not fit into memory."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from luthier.data.batch import Batch
from luthier.engine import world
from luthier.engine.peak import Peak
from luthier.engine.probe import Prober, Trial, update_seconds
from luthier.engine.shards import held_numbers
from luthier.errors import TrainingError
from luthier.jobs.feeds import feed_of
from luthier.jobs.feeds.feed import Feed
from luthier.jobs.looked import Looked, look
from luthier.jobs.operations import Operations, operations_of
from luthier.jobs.workbench import Work
from luthier.models.policy import Policy
from luthier.recipe import own_memory, total_steps

LEAST_SECONDS, SHARE = 5.0, 0.02
"""How long trying may take: so many seconds, or this share of the forecast if that is more."""
LATE = 3
"""Times as long, until something that is usual has been tried."""
ROUNDS = 4
"""Usual micro-batches in each lane, at most."""
SMALLER = "Lower `train.sequence_len` or train fewer weights"
"""What helps where a GPU has no room."""
WEIGHT_BYTES, MOMENTS = 4, 2
"""Of a trained weight, and how many AdamW keeps of each."""


@dataclass(frozen=True)
class Measured:
    """What was found out: seconds of an operation (`Operations`) and its gradient, seconds of the optimizer in a step,
    bytes at the peak of a step with the optimizer's state, and what was looked at."""

    operation_seconds: float
    update_seconds: float
    step_bytes: float
    looked: Looked
    operations: Operations


def with_micro_batches(work: Work, micro_batch_tokens: int, lanes: int) -> Work:
    """With micro-batches of so many tokens, so many of them side by side."""
    sizes = {"micro_batch_tokens": micro_batch_tokens, "lanes": lanes}
    return replace(work, plan=replace(work.plan, forecast={**work.plan.forecast, **sizes}))


def fitting(work: Work, policy: Policy, feed: Feed, peak: Peak) -> tuple[Work, Feed, Measured]:
    """Try micro-batches, and smaller ones until they fit into `machine.memory` or cannot be cut further.

    Raises TrainingError where a GPU has no room for the smallest.
    """
    start, limit = time.perf_counter(), max(LEAST_SECONDS, SHARE * work.plan.forecast["seconds"])
    room, planned = own_memory(work.recipe), work
    while True:
        found = _tried(work, policy, feed, peak, (start + limit, start + LATE * limit), room)
        smaller = _smaller(work, found.looked.longest)
        if found.step_bytes <= room or smaller is None:
            break
        work = smaller
        feed = feed_of(work, policy)
    if found.step_bytes == float("inf"):
        raise TrainingError("the longest row does not fit into the memory of the GPU", "the first micro-batch",
                            f"{SMALLER}, or set `load_in_4bit`")  # fmt: skip
    if work is not planned or found.step_bytes > room:
        work.stages.reporter.event("warning", _told(planned, work, found.step_bytes, room))
    return work, feed, found


def _told(planned: Work, work: Work, peak_bytes: float, room: float) -> str:
    before, after = (f"{w.plan.forecast['micro_batch_tokens']} tokens in {w.plan.forecast['lanes']} lanes"
                     for w in (planned, work))  # fmt: skip
    takes = f"{peak_bytes / 1e9:.2f} GB at the peak where machine.memory allows {room / 1e9:.2f} GB"
    if work is planned:
        return f"micro-batches of {before} take {takes}, and cannot be smaller"
    return f"micro-batches of {before} do not fit into machine.memory; those of {after} take {takes}"


def _smaller(work: Work, longest: int) -> Work | None:
    """Half the tokens, but no fewer than the longest row; then half the lanes; then None, as where a step must be one
    micro-batch."""
    if work.recipe.train.optimizer_in_backward:
        return None
    tokens, lanes = int(work.plan.forecast["micro_batch_tokens"]), int(work.plan.forecast["lanes"])
    if longest and tokens > longest:
        return with_micro_batches(work, max(longest, tokens // 2), lanes)
    return with_micro_batches(work, tokens, lanes // 2) if lanes > 1 else None


def under_way(work: Work) -> float:
    """The most tokens that are worked on at a time, of all lanes."""
    return work.plan.forecast["tokens_under_way"] or math.inf


def _tried(work: Work, policy: Policy, feed: Feed, peak: Peak, deadlines: tuple[float, float], room: float) -> Measured:
    lanes, operations = int(work.plan.forecast["lanes"]), operations_of(work, policy)
    looked = look(feed, total_steps(work.recipe, len(work.rows["train"])), lanes, operations)
    prober = Prober(policy, feed.objective, feed.seams.gradient, peak, under_way(work))
    trials = Trials(prober, operations, deadlines[0])
    trials.run([looked.small], 1)  # wakes threads and libraries
    trials.prober.settle()
    trials.run([looked.light], 1)
    need = trials.foretold(looked.tokens, lanes)
    if need > room and looked.usual and trials.affords(looked.usual[:1]):
        trials.run(looked.usual[:1], 1)
        need = trials.foretold(looked.tokens, lanes)
    if need <= room:
        tried = trials.run_some(looked.heavy, lanes)
        trials.deadline = deadlines[0 if tried == len(looked.heavy) else 1]
        for number in range(ROUNDS if looked.usual else 0):
            trials.run_some(_usual(looked.usual, number, lanes, operations), lanes)
            trials.deadline = deadlines[0]
        need = trials.foretold(looked.tokens, lanes)
    return Measured(trials.operation_seconds, update_seconds(policy.trainable()), need, looked, operations)


def _usual(batches: Sequence[Batch], number: int, lanes: int, operations: Operations) -> list[Batch]:
    """A batch from each of so many equal shares of all operations: in the first round from its middle, in later ones
    from places that spread evenly (the golden ratio's multiples)."""
    by_size = sorted(batches, key=operations)
    done = np.cumsum([operations(batch) for batch in by_size])
    places = (np.arange(lanes) + (0.5 + 0.618 * number) % 1) / lanes
    return [by_size[place] for place in np.searchsorted(done, places * done[-1]).tolist()]


class Trials:
    """Trials so far, and what they say of others; those with the most tokens count for memory, all that ran in as many
    lanes as the last for time."""

    def __init__(self, prober: Prober, operations: Operations, deadline: float) -> None:
        self.prober, self.operations, self.deadline = prober, operations, deadline
        self.gradient_bytes = WEIGHT_BYTES * sum(map(held_numbers, prober.policy.trainable().values()))
        self.seen: list[tuple[int, int, float, Trial]] = []
        """Tokens of the largest micro-batch, lanes, operations, and what was measured."""

    def run(self, batches: Sequence[Batch], lanes: int) -> None:
        """Try them; where a GPU has no room for them, they take infinitely many bytes.

        Raises TrainingError where a pass takes all processes: the others are in the middle of it.
        """
        try:
            trial = self.prober(batches, lanes)
        except torch.OutOfMemoryError as error:
            if self.prober.policy.together:
                raise TrainingError(
                    f"{max(len(batch.ids_T) for batch in batches):,} tokens do not fit into the memory of the GPU",
                    "the first micro-batches", SMALLER,
                ) from error  # fmt: skip
            trial = Trial(0.0, 0, float("inf"))
        work, sizes = sum(map(self.operations, batches)), [len(batch.ids_T) for batch in batches]
        side_by_side = min(lanes, len(batches)) if sum(sizes) <= self.prober.room else 1
        self.seen.append((max(sizes), side_by_side, work, trial))

    def run_some(self, batches: Sequence[Batch], lanes: int) -> int:
        """Try all of them, or the last alone where there is no time for more; how many were tried."""
        for some, side_by_side in ((batches, lanes), (batches[-1:], 1)):
            if some and self.affords(some):
                self.run(some, side_by_side)
                return len(some)
        return 0

    def affords(self, batches: Sequence[Batch]) -> bool:
        """Whether there is time for them, as the process that leads sees it where a pass takes all."""
        ends = time.perf_counter() + sum(map(self.operations, batches)) * self.operation_seconds
        return bool(world.agreed(ends <= self.deadline)) if self.prober.policy.together else ends <= self.deadline

    @property
    def operation_seconds(self) -> float:
        """Seconds of an operation: of all trials but those that only lead up to them."""
        counted = self.seen[2:] or self.seen[-1:]
        return sum(trial.seconds for *_, trial in counted) / sum(work for _, _, work, _ in counted)

    def foretold(self, tokens: int, lanes: int) -> float:
        """Bytes at the peak of steps whose largest micro-batch has so many tokens, in so many lanes.

        A lane holds its activations and its gradient; beside them stands the sum. Activations lie on the line through
        the lightest and the heaviest trial, or grow with the tokens where one trial is all there is. It is the most of
        all processes where a pass takes all of them.
        """
        least, most = (pick(self.seen[1:], key=lambda entry: entry[:2]) for pick in (min, max))
        light, heavy = self._activations(least), self._activations(most)
        if most[0] > least[0]:
            own = heavy + max(0.0, heavy - light) / (most[0] - least[0]) * (tokens - most[0])
        else:
            own = heavy * (tokens / most[0] if most[0] else 1.0)
        own = max(own, *map(self._activations, self.seen[1:]))
        at_a_time = min(lanes, max(1.0, self.prober.room / tokens)) if tokens else lanes
        step = at_a_time * own + (lanes + 1) * self.gradient_bytes
        need = most[3].held + step + MOMENTS * self.gradient_bytes
        return max(world.everyone(need)) if self.prober.policy.together else need

    def _activations(self, entry: tuple[int, int, float, Trial]) -> float:
        """Bytes that each lane of a trial held beside its gradient."""
        _, lanes, _, trial = entry
        return max(0.0, trial.extra - (lanes + 1) * self.gradient_bytes) / lanes
