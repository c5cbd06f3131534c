"""Where an answer differs from its reference: by JSON field, or by word."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from markupsafe import Markup

from luthier.evaluate.json_answer import fields_equal, first_object
from luthier.evaluate.questions import shown

LONGEST = 1600
"""Characters of a text that are shown; what is cut is counted."""
MOST_WORDS = 250
"""Texts of more words and signs than this are shown without marks: the comparison takes quadratic time."""
LEAST_ALIKE = 0.3
"""Below this share of common words, marks would cover everything and are left out."""


@dataclass(frozen=True)
class Cell:
    """One field of one answer; `text` is None where the answer lacks the field."""

    text: str | None
    right: bool


@dataclass(frozen=True)
class Field:
    """One JSON field of the reference and of two answers, judged as `json_match` does.

    A field that the reference lacks counts for nothing: `reference` is None and no cell is wrong.
    """

    key: str
    reference: str | None
    baseline: Cell
    tuned: Cell


def as_reference(value: Any) -> dict[str, Any] | None:
    """The JSON object that a reference is; None where it is anything else."""
    text = plain(value)
    return first_object(text) if text.lstrip().startswith("{") else None


def fields(reference: dict[str, Any], baseline: dict[str, Any] | None, tuned: dict[str, Any] | None) -> list[Field]:
    """Every key of the three objects, the reference's order first."""
    keys = dict.fromkeys(key for one in (reference, baseline or {}, tuned or {}) for key in one)
    cells = [_cells(reference, answer, list(keys)) for answer in (baseline, tuned)]
    return [Field(key, _value(reference, key), before, after) for key, before, after in zip(keys, *cells, strict=True)]


def plain(value: Any) -> str:
    """A question, reference or answer as text."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping) else shown(value)


def _cells(reference: dict[str, Any], answer: dict[str, Any] | None, keys: list[str]) -> list[Cell]:
    right = fields_equal(reference, answer)
    return [Cell(_value(answer or {}, key), right.get(key, True)) for key in keys]


def clipped(text: str) -> str:
    """The text, cut after `LONGEST` characters, with the number that was cut."""
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]} … [{len(text) - LONGEST} more characters]"


def marked(answer: str, reference: str) -> Markup:
    """The answer as HTML; words that the reference does not have at that place are marked, those it lacks are
    struck through."""
    ours, theirs = _words(clipped(answer)), _words(clipped(reference))
    if max(len(ours), len(theirs)) > MOST_WORDS:
        return Markup("{}").format(clipped(answer))
    match = SequenceMatcher(None, [word.strip() for word in theirs], [word.strip() for word in ours], autojunk=False)
    if match.quick_ratio() < LEAST_ALIKE:
        return Markup("<mark>{}</mark>").format(clipped(answer)) if answer else Markup("")
    parts = []
    for kind, from_theirs, to_theirs, from_ours, to_ours in match.get_opcodes():
        if kind == "delete":
            parts.append(Markup("<del>{}</del>").format("".join(theirs[from_theirs:to_theirs])))
        else:
            form = "{}" if kind == "equal" else "<mark>{}</mark>"
            parts.append(Markup(form).format("".join(ours[from_ours:to_ours])))
    return Markup("").join(parts)


def _words(text: str) -> list[str]:
    """Words and signs, each with the white space after it; joined they are the text."""
    return re.findall(r"(?:\w+|[^\w\s]|^)\s*", text)


def _value(one: dict[str, Any], key: str) -> str | None:
    """A field's value as text, or None; a string has quotes only where it would read as other JSON."""
    if key not in one:
        return None
    value = one[key]
    if isinstance(value, str) and value and not _reads_as_json(value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _reads_as_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
