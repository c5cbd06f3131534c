"""Answers beside references: one function per metric, one score per row."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from luthier.data.example import Example
from luthier.errors import DataError
from luthier.evaluate.json_answer import fields_equal, first_object
from luthier.evaluate.questions import normalise, reference_labels
from luthier.evaluate.scores import F1_METRICS, Answer, Sample, Scores


class Unscored(NamedTuple):
    """Why a row has no score: counted, and named in the notes."""

    reason: str


class Mark(NamedTuple):
    """A row's score, what it weighs, and details worth keeping with the sample."""

    score: float
    weight: float | None = None
    extra: dict[str, Any] = {}


NO_LIKELIHOOD = "the solver gives no likelihood"
Scorer = Callable[[Example, Answer], Mark | Unscored]


def exact_match(example: Example, answer: Answer) -> Mark | Unscored:
    """1 where the answer's text is the reference's, both normalised (`questions.normalise`)."""
    reference = example.answer()
    if reference is None:
        return Unscored("no reference answer")
    return Mark(float(normalise(_text(answer) or "") == normalise(reference)))


def json_match(example: Example, answer: Answer) -> Mark | Unscored:
    """1 where every field of the reference's JSON object is in the answer's first one with an equal value.

    `extra["fields"]` keeps each field's result and `extra["json"]` what was read (None: no object); fields that the
    reference does not have are ignored.
    """
    reference = first_object(example.answer() or "")
    if reference is None:
        return Unscored("no JSON object in the reference")
    prediction = first_object(_text(answer) or "")
    fields = fields_equal(reference, prediction)
    right = prediction is not None and all(fields.values())
    return Mark(float(right), extra={"fields": fields, "json": prediction})


def accuracy(example: Example, answer: Answer) -> Mark | Unscored:
    """1 where the set of labels is exactly the reference's (one label: where it is the same)."""
    reference = reference_labels(example)
    if reference is None:
        return Unscored("no label")
    return Mark(float(set(_labels(answer)) == set(reference)))


def nll(example: Example, answer: Answer) -> Mark | Unscored:
    """Nats per token of the reference, weighing as many tokens as it has. Raises DataError where it is not finite."""
    if answer.nll is None:
        return Unscored(NO_LIKELIHOOD)
    if not answer.tokens:
        return Unscored("no token to predict")
    if not math.isfinite(answer.nll):
        raise DataError(f"the likelihood is {answer.nll}", example.row_id, "Check the model for broken weights")
    return Mark(answer.nll / answer.tokens, weight=float(answer.tokens))


def preference_accuracy(example: Example, answer: Answer) -> Mark | Unscored:
    """1 where the chosen answer of a pair has the larger score; `extra["margin"]` is by how much."""
    if answer.preference is None:
        return Unscored("the solver scores no pair")
    margin = answer.preference[0] - answer.preference[1]
    if not math.isfinite(margin):
        raise DataError(f"the scores are {answer.preference}", example.row_id, "Check the model for broken weights")
    return Mark(float(margin > 0), extra={"margin": margin})


SCORERS: dict[str, Scorer] = {
    "exact_match": exact_match,
    "json_match": json_match,
    "accuracy": accuracy,
    "macro_f1": accuracy,
    "micro_f1": accuracy,
    "nll": nll,
    "preference_accuracy": preference_accuracy,
}


def score(
    task: str,
    examples: Sequence[Example],
    answers: Sequence[Answer],
    metrics: Sequence[str],
    *,
    solver: str,
    seconds: float = 0.0,
) -> Scores:
    """Scores each answer by each metric. An example that a metric cannot score has no such score, and a note counts it.

    An empty answer is a wrong one. Raises DataError where answers and examples differ in number, or where no
    example has what the metric compares with; a solver without likelihoods just has no nll.
    """
    if len(examples) != len(answers):
        raise DataError(f"{len(answers)} answers to {len(examples)} examples", solver)
    pairs = list(zip(examples, answers, strict=True))
    marks = {metric: [SCORERS[metric](*pair) for pair in pairs] for metric in metrics}
    notes = [note for metric in metrics for note in _notes(metric, marks[metric])]
    labelled = bool({"accuracy", *F1_METRICS} & set(metrics))
    samples = (
        _sample(example, answer, {metric: marks[metric][i] for metric in metrics}, labelled)
        for i, (example, answer) in enumerate(pairs)
    )
    return Scores(solver, task, tuple(sample for sample in samples if sample.scores), seconds, tuple(notes))


def _notes(metric: str, marks: Sequence[Mark | Unscored]) -> list[str]:
    reasons = Counter(mark.reason for mark in marks if isinstance(mark, Unscored))
    if sum(reasons.values()) == len(marks) and NO_LIKELIHOOD not in reasons:
        why = "; ".join(reasons) or "there are no rows"
        raise DataError(f"{metric} can score no row: {why}", "evaluate.metrics", "Choose a metric that fits the data")
    return [f"{metric}: {count} of {len(marks)} rows not scored: {why}" for why, count in reasons.items()]


def _sample(example: Example, answer: Answer, marks: dict[str, Mark | Unscored], labelled: bool) -> Sample:
    given = {metric: mark for metric, mark in marks.items() if isinstance(mark, Mark)}
    several = example.labels is not None
    reference = _as_labels(reference_labels(example), several) if labelled else example.answer()
    return Sample(
        row_id=example.row_id,
        group=example.group,
        question=example.question(),
        reference=reference,
        prediction=_as_labels(_labels(answer), several) if labelled else _text(answer),
        scores={metric: mark.score for metric, mark in given.items()},
        weights={metric: mark.weight for metric, mark in given.items() if mark.weight is not None},
        extra={key: value for mark in given.values() for key, value in mark.extra.items()},
    )


def _text(answer: Answer) -> str | None:
    return answer.text if answer.text is not None else answer.label


def _labels(answer: Answer) -> list[str]:
    """The labels that the answer names; a plain text is taken as one label."""
    if answer.labels is not None:
        return sorted(answer.labels)
    label = answer.label if answer.label is not None else answer.text
    return [] if label is None else [normalise(label)]


def _as_labels(labels: list[str] | None, several: bool) -> Any:
    """How a sample keeps labels: a list where a row may have several, else the label itself or None."""
    if several:
        return labels
    return labels[0] if labels else None
