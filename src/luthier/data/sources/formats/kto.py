"""A prompt, a completion, and whether it is a good one."""

from __future__ import annotations

from typing import Any

from luthier.data.example import Example
from luthier.data.sources.formats.cells import fault
from luthier.data.sources.formats.format import Columns, Fields, Format, Role
from luthier.data.sources.formats.prompt_completion import PROMPT_COMPLETION, read_exchange
from luthier.data.sources.formats.turns import exchange_of, unsayable
from luthier.data.sources.table import Row

VERDICTS = {True: True, False: False, "true": True, "false": False, "1": True, "0": False}


def _read(row: Row, columns: Columns) -> Fields:
    return read_exchange(row, columns) | {"desirable": _verdict(row, columns["label"])}


def _verdict(row: Row, column: str) -> bool:
    value = row.get(column)
    key = value.lower() if isinstance(value, str) else value
    if type(key) in (str, bool, int, float) and key in VERDICTS:
        return VERDICTS[key]
    raise fault(row, column, "true or false")


def _write(example: Example) -> dict[str, Any]:
    if example.desirable is None:
        raise unsayable(example, "a completion with a verdict")
    prompt, completion, system = exchange_of(example)
    row = {"prompt": prompt, "completion": completion, "label": example.desirable}
    return row | {"system": system} if system else row


def _fits(row: Row, columns: Columns) -> bool:
    value = row.get(columns["label"])
    if isinstance(value, str):
        return value.lower() in ("true", "false")
    return type(value) in (bool, int, float) and value in (0, 1)


KTO = Format(
    "kto",
    {**PROMPT_COMPLETION.roles, "label": Role(("label", "desirable"))},
    _read,
    _write,
    _fits,
)
