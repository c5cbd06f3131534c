"""Closed answers: what a task's answers can be, seen from the training answers."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from luthier.data.example import Example

MAX_VALUES = 1000
"""A set of more answers, or of more values of a field, does not count as closed."""
MAX_UNSEEN = 0.05
"""A set counts as closed where the chance that the next row brings a new value is at most this."""


@dataclass(frozen=True, slots=True)
class AnswerSpace:
    """All answers that a task allows: one of `options`, or JSON with one of `fields[name]` for each name.

    `kind` None: not closed, and `reason` says why. Field values are JSON texts (`"high"` with its quotes); the
    answer is `literals[0] + value of the first field + literals[1] + … + literals[-1]`, as in the training answers.
    """

    kind: Literal["labels", "json"] | None
    options: tuple[str, ...] = ()
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    literals: tuple[str, ...] = ()
    reason: str = ""

    @property
    def size(self) -> int:
        """How many different answers there are."""
        return len(self.options) if self.kind == "labels" else math.prod(map(len, self.fields.values()))

    def compose(self, values: Sequence[str]) -> str:
        """The JSON answer with these values, one text per field in order."""
        pairs = zip(self.literals, [*values, ""], strict=True)
        return "".join(literal + value for literal, value in pairs)

    def answers(self) -> Iterator[str]:
        """Every answer, in a fixed order."""
        if self.kind == "labels":
            return iter(self.options)
        return map(self.compose, itertools.product(*self.fields.values()))


class Parts(NamedTuple):
    """A JSON answer taken apart: `literals` has one text more than there are fields."""

    names: tuple[str, ...]
    values: tuple[str, ...]
    literals: tuple[str, ...]


def answer_space(train: Sequence[Example]) -> AnswerSpace:
    """The closed set that the training answers show: labels, JSON fields with few values, or neither."""
    if any(example.labels is not None for example in train):
        return AnswerSpace(None, reason="rows have several labels")
    if any(example.label is not None for example in train):
        return AnswerSpace("labels", tuple(sorted({e.label for e in train if e.label is not None})))
    answers = [answer for answer in (example.answer() for example in train) if answer is not None]
    if not answers:
        return AnswerSpace(None, reason="no training row has an answer")
    parts = [json_parts(answer) for answer in answers]
    if all(parts):
        return _json_space([part for part in parts if part])
    options = closed_values(answers)
    if isinstance(options, str):
        return AnswerSpace(None, reason=f"the answers are {options}")
    return AnswerSpace("labels", options)


def closed_values(values: Sequence[str]) -> tuple[str, ...] | str:
    """The different values, sorted, where they form a closed set; else a phrase that says why they do not.

    The chance that the next value is a new one is about the share of values seen once (Good 1953, The population
    frequencies of species and the estimation of population parameters).
    """
    counts = Counter(values)
    unseen = sum(count == 1 for count in counts.values()) / len(values)
    if len(counts) > MAX_VALUES:
        return f"not a closed set: {len(counts)} different ones"
    if unseen > MAX_UNSEEN:
        return f"not a closed set: {unseen:.0%} of {len(values)} occur once"
    return tuple(sorted(counts))


def json_parts(text: str) -> Parts | None:
    """Takes a text with one JSON object apart at its top-level values; None where there is no whole object."""
    decoder = json.JSONDecoder()
    names: list[str] = []
    values: list[str] = []
    literals: list[str] = []
    last, position = 0, text.find("{")
    try:
        while not names or text[position] == ",":
            name, position = decoder.raw_decode(text, _skip(text, position + 1))
            position = _skip(text, _expect(text, _skip(text, position), ":"))
            literals.append(text[last:position])
            _, last = decoder.raw_decode(text, position)
            names.append(name)
            values.append(text[position:last])
            position = _skip(text, last)
        _expect(text, position, "}")
    except (ValueError, IndexError):
        return None
    return Parts(tuple(names), tuple(values), (*literals, text[last:]))


def _json_space(parts: Sequence[Parts]) -> AnswerSpace:
    forms = Counter((part.names, part.literals) for part in parts)
    if len(forms) > 1:
        reason = f"the JSON answers have {len(forms)} forms: keys, their order or spacing differ"
        return AnswerSpace(None, reason=reason)
    fields = {}
    for name, column in zip(parts[0].names, zip(*(part.values for part in parts), strict=True), strict=True):
        values = closed_values(column)
        if isinstance(values, str):
            return AnswerSpace(None, reason=f"the values of {name} are {values}")
        fields[name] = values
    return AnswerSpace("json", fields=fields, literals=parts[0].literals)


def _skip(text: str, position: int) -> int:
    """The next position that is not JSON white space."""
    match = re.compile(r"[ \t\r\n]*").match(text, position)
    return match.end() if match else position


def _expect(text: str, position: int, character: str) -> int:
    if text[position] != character:
        raise ValueError(f"expected {character}")
    return position + 1
