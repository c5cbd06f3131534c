"""What a split is stratified by: each row's stratum, as a text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from luthier.data.example import Example

SHORT_CHARS = 100
ROWS_PER_ANSWER = 10


def strata(examples: Sequence[Example]) -> tuple[list[str], str]:
    """The stratum of each row, and what it is in words (empty where all rows are one stratum).

    The label; the rarest label of a row that has several; the verdict of a completion; or, where answers are
    short and few (at most 100 characters, ten rows to an answer on average), the answer.
    """
    if all(example.label is not None for example in examples):
        return [str(example.label) for example in examples], "label"
    if all(example.labels is not None for example in examples):
        return _rarest([example.labels or () for example in examples]), "rarest label"
    if all(example.desirable is not None for example in examples):
        return [str(example.desirable) for example in examples], "verdict"
    answers = [example.answer() or "" for example in examples]
    few = len(set(answers)) * ROWS_PER_ANSWER <= len(answers)
    if few and all(0 < len(answer) <= SHORT_CHARS for answer in answers):
        return answers, "answer"
    return [""] * len(examples), ""


def _rarest(rows: Sequence[Sequence[str]]) -> list[str]:
    counts = Counter(label for labels in rows for label in labels)
    return [min(labels, key=lambda label: (counts[label], label), default="") for labels in rows]
