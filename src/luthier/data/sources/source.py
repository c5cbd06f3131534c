"""Reading one data entry of a recipe."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.data.example import Example
from luthier.data.sources.faults import Faults
from luthier.data.sources.files import find, read_file
from luthier.data.sources.formats import FORMATS
from luthier.data.sources.formats.cells import FILL, describe, listed
from luthier.data.sources.formats.detect import Detected, detect
from luthier.data.sources.hub import PREFIX, download
from luthier.data.sources.table import Row, Table
from luthier.errors import DataError
from luthier.recipe.types import DataEntry


@dataclass(frozen=True)
class Source:
    """The examples of one data entry, and how they were read.

    `sha256` is the hash of the file's bytes; for a folder, of the hashes and names of its files. `files` are
    the names with which row ids begin. `notes` say what the readers accepted or left out.
    """

    examples: list[Example]
    detected: str
    why: str
    columns: Mapping[str, str]
    path: Path
    sha256: str
    rows: int
    split: str
    licence: str | None = None
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read(entry: DataEntry, base: Path) -> Source:
    """All rows of `entry`, whose path is relative to `base`, each with the id `<file name>:<line or record>`.

    Raises `DataError` for the first faulty row, with the number of further ones; nothing is skipped.
    """
    return read_at(locate(entry, base), entry)


def locate(entry: DataEntry, base: Path) -> Path:
    """Where the files of `entry` are; those of a hub dataset are downloaded."""
    if "://" in entry.path:
        mend = f"Download the file and give its path; a dataset of the hub is written {PREFIX}owner/name"
        raise DataError("data is not read from addresses", entry.path, mend)
    return download(entry.path) if entry.path.startswith(PREFIX) else base / Path(entry.path).expanduser()


def read_at(path: Path, entry: DataEntry, prefix: str = "") -> Source:
    """`read` for files already located; `prefix` stands before file names in row ids."""
    with _collector_paused():
        return _read(path, entry, prefix)


def _read(path: Path, entry: DataEntry, prefix: str) -> Source:
    files = [(prefix + name, file) for name, file in find(path)]
    tables = [(name, read_file(file, name)) for name, file in files]
    rows = [row for _, table in tables for row in table.rows]
    where = files[0][0] if len(files) == 1 else str(path)
    notes = tuple(note for _, table in tables for note in table.notes)
    try:
        detected = detect(rows, entry, FORMATS, where)
    except DataError as error:
        raise DataError("; ".join([error.what, *notes]), error.where, error.mend) from None
    return Source(
        examples=_examples(tables, detected, entry),
        detected=detected.format.name,
        why=detected.why,
        columns=detected.columns,
        path=path,
        sha256=_sha256(files),
        rows=len(rows),
        split=entry.split,
        licence=entry.licence,
        files=tuple(name for name, _ in files),
        notes=notes,
    )


@contextmanager
def _collector_paused() -> Iterator[None]:
    """No garbage collection meanwhile: rows hold no cycles, and looking for them takes time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _examples(tables: Sequence[tuple[str, Table]], detected: Detected, entry: DataEntry) -> list[Example]:
    form, columns, _ = detected
    used = set(columns.values())
    shared: dict[str, Any] = {"weight": entry.weight, "licence": entry.licence}
    examples, faults = [], Faults()
    for name, table in tables:
        for number, row in zip(table.numbers, table.rows, strict=True):
            row_id = f"{name}:{number}"
            try:
                fields = form.read(row, columns)
                group = _group(row, entry.group) if entry.group else None
            except DataError as fault:
                faults.add(fault, row_id)
                continue
            extra = {key: value for key, value in row.items() if key not in used} if len(row) > len(used) else {}
            examples.append(Example(row_id, source=name, group=group, extra=extra, **shared, **fields))
    faults.raise_first()
    return examples


def _group(row: Row, column: str) -> str:
    if column not in row:
        what = f"the group column {column!r} is missing (the row has {listed(map(repr, row))})"
        raise DataError(what, "", "Set `group` to a column that every row has")
    value = row[column]
    if type(value) not in (str, int):
        raise DataError(f"the group in {column!r} must be text or a number, and is {describe(value)}", "", FILL)
    return str(value)


def _sha256(files: Sequence[tuple[str, Path]]) -> str:
    """The hash of one file's bytes, or of the list of hashes and names."""
    hashes = []
    for name, path in files:
        with path.open("rb") as file:
            hashes.append((hashlib.file_digest(file, "sha256").hexdigest(), name))
    if len(hashes) == 1:
        return hashes[0][0]
    return hashlib.sha256("".join(f"{digest}  {name}\n" for digest, name in hashes).encode()).hexdigest()
