"""Writing examples in the formats of the field."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from luthier.data.example import Example
from luthier.data.sources.formats import FORMATS
from luthier.errors import DataError
from luthier.store.files import write_atomic

Rows = list[dict[str, Any]]


def write(examples: Sequence[Example], path: Path, type: str) -> None:
    """Write `examples` as rows of `type`, to a file of the kind that the end of its name says.

    It is whole or not there. Only the columns of the format are written. Raises `DataError` where a row
    cannot be said in the format, where a table would have to hold lists, and for an unknown type or kind of
    file.
    """
    if type not in FORMATS:
        raise DataError(f"the type {type!r} is not known", mend=f"Known types: {', '.join(FORMATS)}")
    if path.suffix not in WRITERS:
        raise DataError(f"files of type {path.suffix!r} are not written", str(path), f"Known: {', '.join(WRITERS)}")
    rows = [FORMATS[type].write(example) for example in examples]
    write_atomic(path, WRITERS[path.suffix](rows, path))


def _jsonl(rows: Rows, path: Path) -> str:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def _json(rows: Rows, path: Path) -> str:
    return json.dumps(rows, ensure_ascii=False, indent=2) + "\n"


def _csv(rows: Rows, path: Path) -> str:
    columns = _flat(rows, path)
    text = io.StringIO(newline="")
    table = csv.writer(text, delimiter="\t" if path.suffix == ".tsv" else ",")
    table.writerow(columns)
    table.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return text.getvalue()


def _parquet(rows: Rows, path: Path) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = _flat(rows, path)
    target = io.BytesIO()
    pq.write_table(pa.table({column: [row.get(column) for row in rows] for column in columns}), target)
    return target.getvalue()


def _flat(rows: Rows, path: Path) -> list[str]:
    """The columns of all rows. Raises `DataError` where a cell is a list or an object."""
    for number, row in enumerate(rows, 1):
        nested = next((column for column, cell in row.items() if isinstance(cell, list | dict)), None)
        if nested is not None:
            what = f"{nested!r} of row {number} is a list, which a {path.suffix} file cannot hold"
            raise DataError(what, str(path), "Write a .jsonl file")
    return list(dict.fromkeys(column for row in rows for column in row))


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else value


WRITERS: dict[str, Callable[[Rows, Path], str | bytes]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
}
