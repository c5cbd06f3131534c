"""Several objectives in one run: each micro-batch belongs to one, and each term keeps its own units.

The loss of a step is Σ weight × (sum of a part's terms / units of that part), so how many rows each part happens to
have in a step changes nothing about their balance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from luthier.data.batch import Batch
from luthier.models.policy import Policy
from luthier.objectives.scored import Count, Objective, Scored

TASK = "task"
"""The column (R,) with the number of a row's part, one for all rows of a micro-batch."""


class Part(NamedTuple):
    """An objective and how much it counts."""

    objective: Objective
    weight: float = 1.0


def together(parts: Mapping[str, Part]) -> Objective:
    """One objective of several; a term is called `<part>/<term>`, parts are numbered in their order.

    Every batch has all terms; those of other parts than its own are 0 and have no units.
    """
    units = {
        f"{name}/{term}": _own(number, count)
        for number, (name, part) in enumerate(parts.items())
        for term, count in part.objective.units.items()
    }

    def score(policy: Policy, batch: Batch) -> Scored:
        name, part = list(parts.items())[_number(batch)]
        scored = part.objective.score(policy, batch)
        own = {f"{name}/{term}": part.weight * value for term, value in scored.terms.items()}
        nothing = next(iter(own.values())).new_zeros(batch.rows)
        return Scored(
            {term: own.get(term, nothing) for term in units},
            {f"{name}/{metric}": value for metric, value in scored.metrics.items()},
        )

    return Objective(score, units)


def _own(number: int, count: Count) -> Count:
    return lambda batch: count(batch) if _number(batch) == number else 0.0


def _number(batch: Batch) -> int:
    numbers = batch.column(TASK)
    assert bool((numbers == numbers[0]).all()), "a micro-batch belongs to one part"
    return int(numbers[0])
