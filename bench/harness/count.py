"""Tokens and floating-point operations, counted from the data alone, the same for all sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.rows import Row, first_predicted

Trained = Literal["adapter", "full", "head", "nothing"]
FLOP = {"adapter": 4, "full": 6, "head": 2, "nothing": 2}
"""Operations for each weight and token: 2 forward, 2 for the gradient of the input, 2 for that of the weight."""


@dataclass(frozen=True)
class Model:
    """Weights that multiply every token, and those of the output layer, which only predictions need."""

    trunk: int
    head: int


@dataclass(frozen=True)
class Amount:
    """What a slice has to do."""

    rows: int
    tokens: int
    """Of all rows; of a pair, both answers with their prompts."""
    predicted: int
    flop: float

    def of(self, unit: str) -> float:
        """The number that a rate in `unit` counts."""
        return {"tokens": self.tokens, "rows": self.rows, "pairs": self.rows, "items": self.rows, "start": 1}[unit]


def amount(rows: Sequence[Row], model: Model, trained: Trained, reference: bool = False) -> Amount:
    """Counts of `rows`, all of them once.

    The output layer counts at tokens that are predicted only; what the two answers of a pair have in common counts
    once; adapters and attention do not count. With `reference`, a forward pass of another policy counts as well.
    """
    each = FLOP[trained] + 2 * reference
    alone = [row for row in rows for row in row.alone()]
    predicted = sum(sum(row.mask) for row in alone)
    needed = sum(len(row.ids) for row in alone) - sum(shared(row) for row in rows)
    flop = each * (model.trunk * needed + model.head * predicted)
    return Amount(len(rows), sum(len(row.ids) for row in alone), predicted, float(flop))


def shared(row: Row) -> int:
    """Tokens with which both answers of a pair begin, up to the first that is predicted."""
    if row.rejected is None:
        return 0
    limit = min(first_predicted(row), first_predicted(row.rejected))
    pairs = list(zip(row.ids[:limit], row.rejected.ids[:limit], strict=True))
    return next((i for i, (a, b) in enumerate(pairs) if a != b), limit)


def share_of_ceiling(flop: float, seconds: float, gflops: float) -> float:
    """Operations a second over those of the matrix product."""
    return flop / seconds / (gflops * 1e9)
