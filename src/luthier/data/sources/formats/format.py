"""What a row format is: its columns, how a row becomes an example, and how an example becomes a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from luthier.data.example import Example
from luthier.data.sources.table import Row

Columns = Mapping[str, str]
"""Role → the column that plays it, such as `{"prompt": "question"}`."""

Fields = dict[str, Any]
"""The content fields of an `Example`."""


@dataclass(frozen=True)
class Role:
    """A part of a row: the column that the entry names with `field_<role>`, or the first of `names`."""

    names: tuple[str, ...]
    required: bool = True


def _any(row: Row, columns: Columns) -> bool:
    return True


@dataclass(frozen=True)
class Format:
    """A row format.

    `read` raises `DataError` for a faulty row; its caller adds where. `write` raises `DataError` where the
    example cannot be said in this format. `fits` looks at a row's values, where columns alone do not tell
    formats apart.
    """

    name: str
    roles: Mapping[str, Role]
    read: Callable[[Row, Columns], Fields]
    write: Callable[[Example], dict[str, Any]]
    fits: Callable[[Row, Columns], bool] = _any
