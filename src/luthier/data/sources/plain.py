"""Plain text: one row for each block of lines between blank lines."""

from __future__ import annotations

from pathlib import Path

from luthier.data.sources.encoding import read_text
from luthier.data.sources.table import Row, Table


def read_plain(path: Path, name: str) -> Table:
    """Rows `{"text": block}`, numbered by the line on which the block starts.

    Space at the ends of a block is removed.
    """
    text, notes = read_text(path, name)
    rows: list[Row] = []
    numbers: list[int] = []
    block: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if line and not line.isspace():
            block.append(line)
        elif block:
            rows.append({"text": "\n".join(block).strip()})
            numbers.append(number - len(block))
            block = []
    return Table(rows, numbers, notes)
