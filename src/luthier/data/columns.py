"""Examples as Parquet with a fixed schema: lists and objects are JSON text, so no row changes another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from luthier.data.example import Example

JSON_FIELDS = ("messages", "tools", "chosen", "rejected", "labels", "ratings", "extra")
TUPLES = ("messages", "tools", "chosen", "rejected", "labels", "ratings")
FIELDS = tuple(field.name for field in fields(Example))


def write_examples(path: Path, examples: Sequence[Example], more: dict[str, list[str]] | None = None) -> None:
    """Write one row an example, in order; `more` are further columns of text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: [_cell(name, getattr(example, name)) for example in examples] for name in FIELDS}
    schema = pa.schema([(name, _kind(name)) for name in columns] + [(name, pa.string()) for name in more or ()])
    pq.write_table(pa.table(columns | (more or {}), schema=schema), path, compression="zstd")


def read_examples(path: Path, row_id: str | None = None) -> tuple[list[Example], dict[str, list[str]]]:
    """The examples of a file, or those with one row id, and its further columns."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, filters=[("row_id", "==", row_id)] if row_id else None).to_pydict()
    columns = [[_value(name, cell) for cell in table[name]] for name in FIELDS]
    examples = [Example(*row) for row in zip(*columns, strict=True)]
    return examples, {name: cells for name, cells in table.items() if name not in FIELDS}


def values(example: Example) -> list[Any]:
    """All fields of an example, in order."""
    return [getattr(example, name) for name in FIELDS]


def canonical(value: Any) -> str:
    """JSON text that is equal for equal values; dates and the like become text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def _cell(name: str, value: Any) -> Any:
    return canonical(value) if name in JSON_FIELDS and value is not None else value


def _value(name: str, cell: Any) -> Any:
    if name not in JSON_FIELDS or cell is None:
        return cell
    value = json.loads(cell)
    return tuple(value) if name in TUPLES and isinstance(value, list) else value


def _kind(name: str) -> Any:
    import pyarrow as pa

    return {"weight": pa.float64(), "desirable": pa.bool_()}.get(name, pa.string())
