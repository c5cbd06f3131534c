"""JSON Lines and JSON, decoded strictly: no NaN, no half surrogates, only objects as rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from luthier.data.sources.encoding import read_text
from luthier.data.sources.faults import Faults
from luthier.data.sources.table import Row, Table
from luthier.errors import DataError


def read_jsonl(path: Path, name: str) -> Table:
    """One object a line; blank lines are skipped."""
    text, notes = read_text(path, name)
    return _lines(name, text, notes)


def read_json(path: Path, name: str) -> Table:
    """A list of objects, or an object in which exactly one value is a list of objects.

    A `.json` file that holds JSON Lines is read as such, and said so.
    """
    text, notes = read_text(path, name)
    try:
        value = _decoder.decode(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip().startswith("{"):
            return _lines(name, text, (*notes, f"{name} holds JSON Lines and was read as such"))
        where = f"{name}: line {error.lineno}, column {error.colno}"
        raise DataError(f"broken JSON: {error.msg}", where, "Mend the file there") from None
    except DataError as error:
        raise DataError(error.what, name, error.mend) from None
    items, note = _items(name, value)
    escaped = _has_surrogate(text)
    faults = Faults()
    for number, item in enumerate(items, 1):
        try:
            _check(item, escaped)
        except DataError as error:
            faults.add(error, f"{name}:{number}")
    faults.raise_first()
    return Table(items, range(1, len(items) + 1), (*notes, *note))


def _lines(name: str, text: str, notes: tuple[str, ...]) -> Table:
    rows: list[Row] = []
    numbers: list[int] = []
    faults = Faults()
    decode = _decoder.decode
    escaped = _has_surrogate(text)
    for number, line in enumerate(text.split("\n"), 1):
        if not line or line.isspace():
            continue
        try:
            row = decode(line)
            if type(row) is not dict or escaped or not row:
                _check(row, escaped)
        except json.JSONDecodeError as error:
            mend = "Mend that line, or remove it; each line must be one whole JSON object"
            fault = DataError(f"broken JSON: {error.msg} at column {error.colno}", "", mend)
            faults.add(fault, f"{name}:{number}")
        except DataError as error:
            faults.add(error, f"{name}:{number}")
        else:
            rows.append(row)
            numbers.append(number)
    faults.raise_first()
    return Table(rows, numbers, notes)


def _items(name: str, value: Any) -> tuple[list[Any], tuple[str, ...]]:
    if isinstance(value, list):
        return value, ()
    lists = [key for key, item in value.items() if isinstance(item, list)] if isinstance(value, dict) else []
    if len(lists) == 1:
        rest = [key for key in value if key != lists[0]]
        note = (f"{name}: the rows are in {lists[0]!r}; not used: {', '.join(rest)}",) if rest else ()
        return value[lists[0]], note
    what = f"an object with {len(lists)} lists" if isinstance(value, dict) else f"a {_kind(value)}"
    mend = "A JSON file must hold a list of objects, or an object with one such list; or use JSON Lines"
    raise DataError(f"the file holds {what}, not a list of rows", name, mend)


def _check(row: Any, escaped: bool) -> None:
    if not isinstance(row, dict):
        raise DataError(f"the row is a {_kind(row)}, not an object", "", 'Write it as {"column": value, …}')
    if not row:
        raise DataError("the row has no columns", "", "Fill it, or remove it")
    if escaped:
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise DataError(r"half a surrogate pair (\ud8xx) is no character", "", "Remove or complete it") from None


def _has_surrogate(text: str) -> bool:
    return "\\ud" in text or "\\uD" in text


def _kind(value: Any) -> str:
    names = {list: "list", str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}
    return names[type(value)]


def _refuse_constant(name: str) -> Any:
    raise DataError(f"{name} is not JSON", "", "Write null, or a number")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)
