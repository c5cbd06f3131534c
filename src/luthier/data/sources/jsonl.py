"""JSON Lines and JSON, decoded strictly: no NaN, no half surrogates, no key twice, only objects as rows."""

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
        value = _decode(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip().startswith("{"):
            return _lines(name, text, (*notes, f"{name} holds JSON Lines and was read as such"))
        where = f"{name}: line {error.lineno}, column {error.colno}"
        raise DataError(_broken(error), where, "Mend the file there") from None
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
    escaped = _has_surrogate(text)
    for number, line in enumerate(text.split("\n"), 1):
        if not line or line.isspace():
            continue
        try:
            row = _decode(line)
            if type(row) is not dict or escaped or not row:
                _check(row, escaped)
        except json.JSONDecodeError as error:
            mend = WHOLE if text.lstrip().startswith("[") else LINES
            faults.add(DataError(f"{_broken(error)} at column {error.colno}", "", mend), f"{name}:{number}")
        except DataError as error:
            faults.add(error, f"{name}:{number}")
        else:
            rows.append(row)
            numbers.append(number)
    faults.raise_first()
    return Table(rows, numbers, notes)


def _broken(error: json.JSONDecodeError) -> str:
    return f"broken JSON: {error.msg.removesuffix(' at')}"


def _decode(text: str) -> Any:
    try:
        return _decoder.decode(text)
    except RecursionError:
        raise DataError("lists or objects are nested too deeply", "", "Make it flatter, or leave it out") from None
    except (json.JSONDecodeError, DataError):
        raise
    except ValueError:
        raise DataError("a number has too many digits", "", "Write it as text, or leave it out") from None


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
        mend = WHOLE if isinstance(row, list) else 'Write it as {"column": value, …}'
        raise DataError(f"the row is a {_kind(row)}, not an object", "", mend)
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


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        double = next(key for key in keys if keys.count(key) > 1)
        raise DataError(f"the key {double!r} stands twice in one object", "", "Keep one of them, or rename one")
    return row


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_object)

LINES = "Mend that line, or remove it; each line must be one whole JSON object"
WHOLE = "Write one object a line; a file that is one JSON list must have a name that ends in .json"
