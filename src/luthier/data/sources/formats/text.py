"""Plain text rows, for continued pre-training."""

from __future__ import annotations

from typing import Any

from luthier.data.example import Example
from luthier.data.sources.formats.cells import text
from luthier.data.sources.formats.format import Columns, Fields, Format, Role
from luthier.data.sources.formats.turns import unsayable
from luthier.data.sources.table import Row


def _read(row: Row, columns: Columns) -> Fields:
    return {"text": text(row, columns["text"])}


def _write(example: Example) -> dict[str, Any]:
    if example.text is None or example.label is not None or example.labels is not None:
        raise unsayable(example, "plain text")
    return {"text": example.text}


TEXT = Format("text", {"text": Role(("text",))}, _read, _write)
