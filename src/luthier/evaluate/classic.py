"""The baseline without a language model: TF-IDF and logistic regression, wherever the answers form a closed set."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.data.example import Example
from luthier.evaluate.answer_space import AnswerSpace, answer_space, json_parts
from luthier.evaluate.questions import asked
from luthier.evaluate.scores import Answer
from luthier.evaluate.tfidf import features


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """A baseline that does not fit the task, and why."""

    reason: str


def classic(train: Sequence[Example], tests: Sequence[Example]) -> list[Answer] | NotApplicable:
    """Learns from the training rows and answers the test rows; deterministic.

    One classifier for a label or a short answer, one per label where a row has several, one per field for JSON
    (then written in the form of the training answers).
    """
    several = any(example.labels is not None for example in train)
    space = answer_space(train)
    if space.kind is None and not several:
        return NotApplicable(space.reason)
    known = [example for example in train if (example.labels if several else _target(example)) is not None]
    if not any(asked(example).strip() for example in known):
        return NotApplicable("the training questions hold no text")
    seen, unseen = features([asked(example) for example in known], [asked(example) for example in tests])
    if several:
        return [Answer(labels=labels) for labels in _several_labels(seen, known, unseen)]
    if space.kind == "json":
        return _json_answers(seen, known, unseen, space)
    predicted = _classify(seen, [str(_target(example)) for example in known], unseen)
    labelled = any(example.label is not None for example in known)
    return [Answer(label=text) if labelled else Answer(text=text) for text in predicted]


def _target(example: Example) -> str | None:
    return example.label if example.label is not None else example.answer()


def _json_answers(seen: Any, known: Sequence[Example], unseen: Any, space: AnswerSpace) -> list[Answer]:
    parts = [json_parts(str(_target(example))) for example in known]
    columns = zip(*(part.values for part in parts if part), strict=True)
    predicted = [_classify(seen, column, unseen) for column in columns]
    return [Answer(text=space.compose(values)) for values in zip(*predicted, strict=True)]


def _several_labels(seen: Any, known: Sequence[Example], unseen: Any) -> list[tuple[str, ...]]:
    """Every label whose own classifier gives it at least 1/2, else the most likely one."""
    import numpy as np

    names = sorted({label for example in known for label in example.labels or ()})
    columns = [_chance(seen, [name in (example.labels or ()) for example in known], unseen) for name in names]
    chances = np.stack(columns, axis=1)
    chosen = chances >= np.minimum(chances.max(axis=1, keepdims=True), 0.5)
    return [tuple(name for name, is_in in zip(names, row, strict=True) if is_in) for row in chosen]


def _chance(seen: Any, is_in: Sequence[bool], unseen: Any) -> Any:
    import numpy as np

    if all(is_in):
        return np.ones(unseen.shape[0])
    return fit(seen, is_in).predict_proba(unseen)[:, 1]


def _classify(seen: Any, targets: Sequence[str], unseen: Any) -> list[str]:
    if len(set(targets)) == 1:
        return [targets[0]] * unseen.shape[0]
    return [str(target) for target in fit(seen, targets).predict(unseen)]


def fit(seen: Any, targets: Sequence[Any]) -> Any:
    """Softmax regression with a weak penalty; where its limit of steps ends the fit, that is close enough here."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=10, tol=1e-3, max_iter=100).fit(seen, targets)
