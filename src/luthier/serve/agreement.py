"""Whether an engine says what the model says: their likeliest next tokens, place by place, in texts that are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.evaluate.proportions import proportion
from luthier.serve.engines.asking import Progress, forced
from luthier.serve.engines.engine import Engine

TOLERANCE = 0.97
"""The share of places at which an engine agrees that may take the model's place without being asked to."""
Thoughts = Sequence[Sequence[tuple[int, float]]]
"""Of each row, place by place: the likeliest id, and the log-probability of the id that stands there."""


@dataclass(frozen=True)
class Agreement:
    """The share of `places` at which both find the same id likeliest, with its interval, in which the places of a row
    count as one group, and the mean of |Δ log-probability| of the ids that stand there, in nats."""

    share: float
    low: float
    high: float
    places: int
    difference: float

    @property
    def ok(self) -> bool:
        """Whether that is within `TOLERANCE`."""
        return self.share >= TOLERANCE


def agreement(
    engine: Engine, rows: Sequence[tuple[Sequence[int], Sequence[int]]], reference: Thoughts,
    adapter: str | None = None, progress: Progress = lambda done, total: None,
) -> Agreement:  # fmt: skip
    """Of an engine with a reference, at the places of rows `(ids, places)`."""
    found = forced(engine, rows, adapter, progress)
    pairs = [(str(number), own, theirs) for number, (ours, others) in enumerate(zip(found, reference, strict=True))
             for own, theirs in zip(ours, others, strict=True)]  # fmt: skip
    same = np.array([own[0] == theirs[0] for _, own, theirs in pairs], dtype=float)
    apart = np.array([abs(own[1] - theirs[1]) for _, own, theirs in pairs])
    interval = proportion(same, [group for group, _, _ in pairs], confidence=0.95)
    return Agreement(interval.value, interval.low, interval.high, len(pairs), float(apart.mean()))
