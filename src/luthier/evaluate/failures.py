"""Where a tuned model got better and worse, and where it is still weak."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from luthier.evaluate.json_answer import first_object
from luthier.evaluate.means import weighted_mean
from luthier.evaluate.paired import pairs
from luthier.evaluate.proportions import proportion
from luthier.evaluate.questions import shown
from luthier.evaluate.resample import Floats
from luthier.evaluate.scores import LOWER_IS_BETTER, Sample, Scores, is_binary, label_set, values, weights

MIN_ROWS = 5
"""The smallest slice that is shown."""


def breakdown(tuned: Scores, baseline: Scores, metric: str, limit: int = 50) -> dict[str, Any]:
    """The run document's `samples` block: rows that changed, at most `limit` each way, and counts of all.

    For 0/1 metrics (and F1, by whether the row's labels are right) the rows that are right in one only. Else rows
    whose score rose or fell, the largest change first; there `both_right` and `both_wrong` are 0.
    """
    ours, theirs = pairs(tuned, baseline, metric)
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    gains = sign * (values(ours, metric) - values(theirs, metric))
    order = sorted(range(len(ours)), key=lambda i: -abs(gains[i]))
    improved = [_pair(ours[i], theirs[i]) for i in order if gains[i] > 0]
    worsened = [_pair(ours[i], theirs[i]) for i in order if gains[i] < 0]
    binary = is_binary(ours, metric) and is_binary(theirs, metric)
    same_scores = [a.scores[metric] for a, gain in zip(ours, gains, strict=True) if gain == 0 and binary]
    counts = {
        "improved": len(improved),
        "worsened": len(worsened),
        "both_right": same_scores.count(1),
        "both_wrong": same_scores.count(0),
    }
    return {"improved": improved[:limit], "worsened": worsened[:limit], "counts": counts}


def slices(scores: Scores, metric: str, confidence: float = 0.95, limit: int = 30) -> list[dict[str, Any]]:
    """The metric by reference label, group, JSON field and a field's reference value, the surely worst first.

    Each is `{name, value, low, high, n}`, of 5 rows or more. The order is by the better end of the interval, so
    that a small slice must do much worse to come first. F1 is shown as the share of rows that are right.
    """
    rows = scores.scored(metric)
    named = _by_field(rows) if metric == "json_match" else _by_label(rows, metric)
    records = [_record(part, confidence) for part in (*named, *_by_group(rows, metric)) if _enough(part)]
    if metric in LOWER_IS_BETTER:
        return sorted(records, key=lambda record: -record["low"])[:limit]
    return sorted(records, key=lambda record: record["high"])[:limit]


def confusions(scores: Scores, limit: int = 20) -> list[dict[str, Any]]:
    """What was most often taken for what: `{field, reference, prediction, count}`, `field` "" but for JSON."""
    counts = Counter(mistake for row in scores.samples for mistake in _mistakes(row))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]
    names = ("field", "reference", "prediction")
    return [{**dict(zip(names, mistake, strict=True)), "count": count} for mistake, count in ranked]


def _pair(ours: Sample, theirs: Sample) -> dict[str, Any]:
    return {
        "row_id": ours.row_id,
        "question": ours.question,
        "reference": shown(ours.reference),
        "baseline": shown(theirs.prediction),
        "tuned": shown(ours.prediction),
    }


class Part(NamedTuple):
    """Some rows of an evaluation: what they have in common, and their scores, weights and groups."""

    name: str
    scores: Floats
    weights: Floats
    groups: list[str | None]


def _by_field(rows: Sequence[Sample]) -> list[Part]:
    """How often each JSON field is right: over all rows, and by its value in the reference."""
    parts: dict[str, list[tuple[float, str | None]]] = defaultdict(list)
    for row in rows:
        reference = first_object(row.reference) or {}
        for field, right in row.extra["fields"].items():
            for name in (field, f"{field}: {shown(reference[field])}"):
                parts[name].append((float(right), row.group))
    return [
        Part(
            name,
            np.array([right for right, _ in column]),
            np.ones(len(column)),
            [group for _, group in column],
        )
        for name, column in parts.items()
    ]


def _by_label(rows: Sequence[Sample], metric: str) -> list[Part]:
    parts: dict[str, list[Sample]] = defaultdict(list)
    for row in rows:
        for label in sorted(label_set(row.reference)):
            parts[label].append(row)
    return [Part(label, *_columns(part, metric), [row.group for row in part]) for label, part in parts.items()]


def _by_group(rows: Sequence[Sample], metric: str) -> list[Part]:
    """One part per group; its own rows count as independent."""
    parts: dict[str, list[Sample]] = defaultdict(list)
    for row in rows:
        if row.group is not None:
            parts[row.group].append(row)
    return [Part(f"group {name}", *_columns(part, metric), [None] * len(part)) for name, part in parts.items()]


def _columns(rows: Sequence[Sample], metric: str) -> tuple[Floats, Floats]:
    return values(rows, metric), weights(rows, metric)


def _enough(part: Part) -> bool:
    """Whether an interval says anything: from 5 rows on that are not all of one group."""
    groups = set(part.groups)
    return len(part.scores) >= MIN_ROWS and (len(groups) > 1 or groups == {None})


def _record(part: Part, confidence: float) -> dict[str, Any]:
    if set(part.scores) <= {0.0, 1.0} and set(part.weights) == {1.0}:
        interval = proportion(part.scores, part.groups, confidence)
    else:
        interval = weighted_mean(part.scores, part.weights, part.groups, confidence)
    return {"name": part.name, **interval._asdict(), "n": len(part.scores)}


def _mistakes(row: Sample) -> Iterator[tuple[str, str, str]]:
    """(field, reference, prediction) of what is wrong in a row."""
    if "fields" in row.extra:
        reference, given = first_object(row.reference) or {}, row.extra["json"] or {}
        for name, right in row.extra["fields"].items():
            if not right:
                yield name, shown(reference[name]), shown(given.get(name))
    elif shown(row.reference) != shown(row.prediction) and row.reference is not None:
        yield "", shown(row.reference), shown(row.prediction)
