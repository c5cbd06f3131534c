"""The baseline that reads nothing: always the most frequent answer of the training rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

from luthier.data.example import Example
from luthier.evaluate.answer_space import answer_space, json_parts
from luthier.evaluate.classic import NotApplicable
from luthier.evaluate.scores import Answer

Value = TypeVar("Value", bound=Hashable)


def majority(train: Sequence[Example], tests: Sequence[Example]) -> list[Answer] | NotApplicable:
    """The most frequent label or set of labels, short answer, or value of each JSON field; the first of equals.

    Where questions say nothing about answers, this is what cannot be beaten, so a model that does not beat it has
    learnt nothing but how often each answer occurs.
    """
    if any(row.labels is not None for row in train):
        return [Answer(labels=_most(row.labels for row in train if row.labels is not None))] * len(tests)
    space = answer_space(train)
    if space.kind is None:
        return NotApplicable(space.reason)
    targets = [row.label if row.label is not None else row.answer() for row in train]
    known = [target for target in targets if target is not None]
    if space.kind == "json":
        columns = zip(*(parts.values for text in known if (parts := json_parts(text))), strict=True)
        return [Answer(text=space.compose([_most(column) for column in columns]))] * len(tests)
    labelled = any(row.label is not None for row in train)
    found = _most(known)
    return [Answer(label=found) if labelled else Answer(text=found)] * len(tests)


def _most(values: Iterable[Value]) -> Value:
    return Counter(values).most_common(1)[0][0]
