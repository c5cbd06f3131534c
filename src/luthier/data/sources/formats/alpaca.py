"""Alpaca rows: an instruction, where needed an input to it, and the output."""

from __future__ import annotations

from typing import Any

from luthier.data.example import Example
from luthier.data.sources.formats.cells import optional_text, text
from luthier.data.sources.formats.format import Columns, Fields, Format, Role
from luthier.data.sources.formats.prompt_completion import with_system
from luthier.data.sources.formats.turns import exchange_of
from luthier.data.sources.table import Row


def _read(row: Row, columns: Columns) -> Fields:
    """The prompt is the instruction, then a blank line and the input where there is one."""
    given = optional_text(row, columns.get("input"))
    instruction = text(row, columns["instruction"])
    prompt = f"{instruction}\n\n{given}" if given else instruction
    return with_system(prompt, text(row, columns["output"]), optional_text(row, columns.get("system")))


def _write(example: Example) -> dict[str, Any]:
    prompt, completion, system = exchange_of(example)
    row = {"instruction": prompt, "input": "", "output": completion}
    return row | {"system": system} if system else row


ALPACA = Format(
    "alpaca",
    {
        "instruction": Role(("instruction",)),
        "input": Role(("input", "context"), required=False),
        "output": Role(("output", "response", "completion", "answer")),
        "system": Role(("system",), required=False),
    },
    _read,
    _write,
)
