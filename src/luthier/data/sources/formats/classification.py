"""A text and its label, or its list of labels. Numbers and booleans become text."""

from __future__ import annotations

from typing import Any

from luthier.data.example import Example
from luthier.data.sources.formats.cells import fault, text
from luthier.data.sources.formats.format import Columns, Fields, Format, Role
from luthier.data.sources.formats.turns import unsayable
from luthier.data.sources.table import Row
from luthier.errors import DataError


def _read(row: Row, columns: Columns) -> Fields:
    column = columns["label"]
    value = row.get(column)
    said = text(row, columns["text"])
    if type(value) is list:
        labels = [_label({column: item}, column) for item in value]
        return {"text": said, "labels": tuple(dict.fromkeys(labels))}
    return {"text": said, "label": _label(row, column)}


def _label(row: Row, column: str) -> str:
    value = row.get(column)
    if type(value) is str:
        if not value.strip():
            raise DataError(f"the label in {column!r} is blank", "", "Fill it, or remove the row")
        return value.strip()
    if type(value) is bool:
        return str(value).lower()
    if type(value) is int or (type(value) is float and value.is_integer()):
        return str(int(value))
    raise fault(row, column, "a label (text or a whole number)")


def _write(example: Example) -> dict[str, Any]:
    if example.labels is not None and example.text is not None:
        return {"text": example.text, "labels": list(example.labels)}
    if example.label is not None and example.text is not None:
        return {"text": example.text, "label": example.label}
    raise unsayable(example, "a text with a label")


CLASSIFICATION = Format(
    "classification",
    {
        "text": Role(("text", "sentence", "utterance", "message")),
        "label": Role(("label", "labels", "category", "intent", "class", "sentiment", "emotion", "topic", "tag")),
    },
    _read,
    _write,
)
