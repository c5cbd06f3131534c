"""Dataset versions of the home as sources of rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from luthier.data import version
from luthier.data.example import Example
from luthier.data.sources import Source
from luthier.errors import DataError
from luthier.recipe import STORED, DataEntry, Recipe
from luthier.store import Home

FIXED = "A dataset version is read as it was written; `weight`, `split` and `licence` may be given"


def is_stored(entry: DataEntry) -> bool:
    """Whether the entry names a dataset version instead of files."""
    return entry.path.startswith(STORED)


def versions_of(home: Home, recipe: Recipe) -> list[str]:
    """The ids of the dataset versions that the recipe names, each once."""
    named = (entry.path.removeprefix(STORED) for entry in recipe.data if is_stored(entry))
    return list(dict.fromkeys(version.get(home, one).id for one in named))


def read_stored(entry: DataEntry, home: Home) -> Source:
    """The rows of the entry's split, with the ids and all else that they were stored with.

    Raises `NotFound` for an unknown version, `DataError` where it has no such rows, or the entry says how files are
    read.
    """
    found = version.get(home, entry.path.removeprefix(STORED))
    rows = version.read(home, found.id, entry.split)
    if not rows:
        there = ", ".join(f"{count} {name}" for name, count in found.manifest["splits"].items() if count)
        raise DataError(f"the version has no {entry.split} rows", entry.path, f"It has {there}")
    form = form_of(rows[0])
    named = [key for key, value in entry if (key.startswith("field_") or key == "group") and value]
    if named or entry.type not in ("auto", form):
        raise DataError(f"`{(named or ['type'])[0]}` has no effect on a dataset version", entry.path, FIXED)
    made = ", made of feedback" if any(step["name"] == "feedback" for step in found.manifest["steps"]) else ""
    licences = found.manifest.get("licences", [])
    return Source(
        examples=[_weighted(row, entry) for row in rows], detected=form, why=f"its {entry.split} rows{made}",
        columns={}, path=Path(STORED + found.id), sha256=found.tree_sha, rows=len(rows), split=entry.split,
        licence=entry.licence or ", ".join(licences) or None,
    )  # fmt: skip


def form_of(row: Example) -> str:
    """The type of files from which such a row is read."""
    if row.chosen is not None:
        return "preference"
    if row.desirable is not None:
        return "kto"
    if row.label is not None or row.labels is not None:
        return "classification"
    if row.text is not None:
        return "text"
    return "chat" if row.messages is not None else "prompt_completion"


def _weighted(row: Example, entry: DataEntry) -> Example:
    return replace(row, weight=row.weight * entry.weight, licence=entry.licence or row.licence)
