"""Taking one value out of a row, with an error that says what it is and what it should be."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from luthier.data.sources.table import Row
from luthier.errors import DataError

LISTED = 12
"""Columns that are named in a message."""

KINDS = {
    str: "text",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
}


def text(row: Row, column: str) -> str:
    """The column's text, which may be empty."""
    value = row.get(column)
    if type(value) is str:
        return value
    raise fault(row, column, "text")


def optional_text(row: Row, column: str | None) -> str:
    """The column's text; empty where there is no column, no cell, or a null."""
    if column is None or row.get(column) is None:
        return ""
    return text(row, column)


def listing(row: Row, column: str) -> list[Any]:
    value = row.get(column)
    if type(value) is list:
        return value
    raise fault(row, column, "a list")


def fault(row: Row, column: str, expected: str) -> DataError:
    """The error for a column that is missing, null, or not what is expected."""
    if column not in row:
        return DataError(f"the column {column!r} is missing (the row has {listed(map(repr, row))})", "", FILL)
    value = row[column]
    if value is None:
        return DataError(f"the column {column!r} is empty (null)", "", FILL)
    mend = f"Make it {expected}"
    if type(value) is str and expected != "text":
        mend += "; a CSV file holds only text, use JSON Lines for lists and objects"
    return DataError(f"the column {column!r} must be {expected}, and is {describe(value)}", "", mend)


def listed(columns: Iterable[str]) -> str:
    """Column names for a message: the first dozen, each cut at 40 characters."""
    names = [f"{name[:40]}…" if len(name) > 40 else name for name in columns]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def describe(value: Any) -> str:
    """The kind of a value and a glimpse of it."""
    if value is None:
        return "null"
    glimpse = json.dumps(value, ensure_ascii=False, default=str)
    kind = KINDS.get(type(value), f"a {type(value).__name__}")
    return f"{kind}: {glimpse[:60]}{'…' if len(glimpse) > 60 else ''}"


FILL = "Fill it, or remove the row"
