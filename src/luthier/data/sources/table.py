"""What every file reader returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """The rows of one file as they stand in it.

    `numbers[i]` is the line (JSONL, text) or record (JSON, CSV, Parquet) of `rows[i]`, counted from 1. A null
    is None; so is an empty cell of a CSV file, which has no other way to say it.
    """

    rows: Sequence[Row]
    numbers: Sequence[int]
    notes: tuple[str, ...] = ()
