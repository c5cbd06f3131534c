"""From any readable source to any writable file."""

from __future__ import annotations

from pathlib import Path

from luthier.data.sources import Source, read
from luthier.data.write import write
from luthier.recipe.types import DataEntry


def convert(entry: DataEntry, base: Path, target: Path, type: str) -> Source:
    """Read `entry` (its path relative to `base`) and write its rows as `type` to `target`.

    Returns what was read. Columns that the target format does not know are left out. Raises `DataError`; then
    nothing is written.
    """
    source = read(entry, base)
    write(source.examples, target, type)
    return source
