"""What an objective returns, and what one is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor

from luthier.data.batch import Batch
from luthier.models.policy import Policy


class Scored(NamedTuple):
    """Per-row sums of each loss term, shape (R,); the loop divides each by its own units, once.

    `metrics` are per-row or per-target values that are averaged for the report and never differentiated.
    """

    terms: dict[str, Tensor]
    metrics: dict[str, Tensor]


class Score(Protocol):
    """Scores a batch under the policy."""

    def __call__(self, policy: Policy, batch: Batch) -> Scored: ...


Count = Callable[[Batch], float]


@dataclass(frozen=True)
class Objective:
    """A loss: how a batch is scored, and what each of its terms is divided by.

    `units` says for each term how much of it a batch holds (weighted tokens, weighted rows); the loop adds that up
    over all micro-batches and ranks of a step before it divides.
    """

    score: Score
    units: Mapping[str, Count]

    def count(self, batch: Batch) -> dict[str, float]:
        """The units of each term in one batch."""
        return {name: count(batch) for name, count in self.units.items()}


def tokens(batch: Batch) -> float:
    """The weight of all targets."""
    return float(batch.weight_N.sum())
