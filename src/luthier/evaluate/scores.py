"""The result of an evaluation: every sample kept, and every number computed from them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from luthier.errors import DataError
from luthier.evaluate.f1 import f1
from luthier.evaluate.means import weighted_mean
from luthier.evaluate.proportions import proportion
from luthier.evaluate.resample import Floats

F1_METRICS = frozenset({"macro_f1", "micro_f1"})
"""Computed over all samples at once; a sample's own score says whether its labels are exactly right."""
LOWER_IS_BETTER = frozenset({"nll"})
LABEL_FIELDS = ("reference", "prediction")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a solver says about one example: text, a label or several, or how likely the reference is to it."""

    text: str | None = None
    label: str | None = None
    labels: tuple[str, ...] | None = None
    nll: float | None = None
    """Nats, summed over the reference's `tokens`."""
    tokens: int | None = None
    preference: tuple[float, float] | None = None
    """Of a pair, what is said for the chosen answer and for the rejected one; `text` is the one that is preferred."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of an evaluation; all values are JSON-ready.

    `scores[metric]` is the row's value, `weights[metric]` what it counts in the mean where that is not 1: for `nll`
    the score is nats per token, the weight the number of tokens. `group` joins rows that are not independent.
    """

    row_id: str
    group: str | None
    question: Any
    reference: Any
    prediction: Any
    scores: dict[str, float]
    weights: dict[str, float] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric's value over `n` rows, with its confidence interval."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Delta:
    """How much better (positive) one solver is than another on the same `n` rows; `p` is two-sided."""

    value: float
    low: float
    high: float
    p: float
    n: int
    method: str


@dataclass(frozen=True, slots=True)
class Scores:
    """One solver on one task: its samples, the seconds it took, and notes on rows that were not scored."""

    solver: str
    task: str
    samples: tuple[Sample, ...]
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that at least one sample has, in order of first appearance."""
        return tuple(dict.fromkeys(name for sample in self.samples for name in sample.scores))

    def scored(self, metric: str) -> list[Sample]:
        """The samples that have this metric; DataError where none has."""
        rows = [sample for sample in self.samples if metric in sample.scores]
        if not rows:
            there = ", ".join(self.metrics) or "none"
            raise DataError(f"no row is scored by {metric}", f"scores of {self.solver}", f"Scored metrics: {there}")
        return rows

    def estimate(self, metric: str, confidence: float = 0.95) -> Estimate:
        """The metric over all rows that have it, with the interval that fits its kind (docs/evaluate.md)."""
        rows = self.scored(metric)
        groups = [row.group for row in rows]
        if metric in F1_METRICS:
            references, predictions = ([label_set(getattr(row, name)) for row in rows] for name in LABEL_FIELDS)
            interval = f1(references, predictions, groups, metric, confidence)
        elif is_binary(rows, metric):
            interval = proportion(values(rows, metric), groups, confidence)
        else:
            interval = weighted_mean(values(rows, metric), weights(rows, metric), groups, confidence)
        return Estimate(*interval, len(rows))

    def to_jsonl(self) -> str:
        """A header line, then one line per sample; the same scores always give the same bytes."""
        header = {name: getattr(self, name) for name in ("solver", "task", "seconds", "notes")}
        return "".join(_line(part) for part in (header, *map(asdict, self.samples)))

    @staticmethod
    def from_jsonl(text: str) -> Scores:
        """Reads what `to_jsonl` wrote; DataError names the line that is not."""
        records = [_record(number, line) for number, line in enumerate(text.split("\n"), 1) if line]
        try:
            header, *samples = records
            header["notes"] = tuple(header["notes"])
            return Scores(samples=tuple(Sample(**sample) for sample in samples), **header)
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"not the record of an evaluation: {error}", mend="Write it with to_jsonl") from error


def values(rows: Sequence[Sample], metric: str) -> Floats:
    """The rows' scores, shape (N,)."""
    return np.array([row.scores[metric] for row in rows], dtype=float)


def weights(rows: Sequence[Sample], metric: str) -> Floats:
    """What each row counts in the mean, shape (N,)."""
    return np.array([row.weights.get(metric, 1.0) for row in rows], dtype=float)


def is_binary(rows: Sequence[Sample], metric: str) -> bool:
    """Whether every row is simply right (1) or wrong (0)."""
    return all(row.scores[metric] in (0, 1) and metric not in row.weights for row in rows)


def label_set(value: Any) -> frozenset[str]:
    """One label, several or none, as a set."""
    if value is None:
        return frozenset()
    return frozenset([value]) if isinstance(value, str) else frozenset(value)


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n"


def _record(number: int, line: str) -> dict[str, Any]:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON: {error}", f"line {number}", "Write the file with to_jsonl") from error
