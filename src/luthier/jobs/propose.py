"""`luthier init`: a look at a data file, and a recipe that fits it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import luthier.recipe as recipes
from luthier.data.pipeline import TASKS
from luthier.data.sources import read
from luthier.errors import DataError
from luthier.recipe import DataEntry, Glimpse
from luthier.store import Home


def propose(data_path: Path, home: Home, note: Callable[[str], None]) -> str:
    """The text of a commented recipe. Raises DataError where the file cannot be read."""
    if not data_path.exists():
        raise DataError("there is no such file", str(data_path), "Give the path of your examples")
    source = read(DataEntry(path=str(data_path.resolve())), Path.cwd())
    labels = {label for row in source.examples for label in (row.labels or (row.label,)) if label is not None}
    note(f"{data_path}: {source.rows} rows of {source.detected}: {source.why}")
    glimpse = Glimpse(
        task=TASKS[source.detected],
        type=source.detected, rows=source.rows, labels=len(labels),
    )  # fmt: skip
    return recipes.propose(glimpse, str(data_path))
