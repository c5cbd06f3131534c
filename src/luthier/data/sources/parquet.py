"""Parquet files, through pyarrow. Nested columns become lists and dicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from luthier.data.sources.table import Row, Table
from luthier.errors import DataError


def read_parquet(path: Path, name: str) -> Table:
    """Rows, numbered from 1. Dates and decimals become text; columns of bytes are noted and left out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"not a whole Parquet file ({error})", name, "Write or download it again") from None
    names = table.column_names
    double = next((column for column in names if names.count(column) > 1), None)
    if double is not None:
        raise DataError(f"the column name {double!r} stands twice", name, "Rename one of them")
    binary = [field.name for field in table.schema if _has_binary(field.type)]
    columns = {column: _values(table, column, name) for column in names if column not in binary}
    if not columns:
        raise DataError("no column holds text, numbers or lists of them", name, "Name another file")
    rows: list[Row] = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    notes = (f"{name}: columns of bytes are left out: {', '.join(binary)}",) if binary else ()
    return Table(rows, range(1, len(rows) + 1), notes)


def _values(table: Any, column: str, name: str) -> list[Any]:
    import pyarrow as pa

    data = table.column(column)
    if pa.types.is_temporal(data.type) or pa.types.is_decimal(data.type):
        data = data.cast(pa.string())
    try:
        return data.to_pylist()
    except UnicodeDecodeError as error:
        mend = "Write the column as UTF-8 text"
        raise DataError(f"column {column!r} is not UTF-8 text ({error.reason})", name, mend) from None


def _has_binary(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_nested(kind):
        return any(_has_binary(kind.field(index).type) for index in range(kind.num_fields))
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
