"""From the path of a data entry to the files behind it, and from a file to its rows."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from luthier.data.sources.delimited import read_delimited
from luthier.data.sources.jsonl import read_json, read_jsonl
from luthier.data.sources.parquet import read_parquet
from luthier.data.sources.plain import read_plain
from luthier.data.sources.table import Table
from luthier.errors import DataError

READERS: dict[str, Callable[[Path, str], Table]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".parquet": read_parquet,
    ".txt": read_plain,
}
"""How a file is read, by the end of its name; all but Parquet may be followed by `.gz`."""

KNOWN = f"Known types: {', '.join(READERS)}; all but Parquet also with .gz"

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "valid": "validation",
    "validation": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


def kind(path: Path) -> str:
    """The end of the name that decides how a file is read: `.csv` for `a.csv.gz`; empty if unknown."""
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    packed = path.name.endswith(".gz") and suffix == ".parquet"
    return suffix if suffix in READERS and not packed else ""


def read_file(path: Path, name: str) -> Table:
    """The rows of one file. Raises `DataError` where its type is unknown, or it has no rows."""
    if not kind(path):
        ending = "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:])
        what = (
            f"files of type {ending!r} are not read" if ending else "the file's name has no ending that says its type"
        )
        raise DataError(what, name, KNOWN)
    try:
        if path.stat().st_size == 0:
            raise DataError("the file is empty", name, "Give a file with at least one row")
        table = READERS[kind(path)](path, name)
    except OSError as error:
        what = f"the file cannot be read ({error.strerror or error})"
        raise DataError(what, name, "Check that you may read it") from error
    if not table.rows:
        raise DataError("the file has no rows", name, "Give a file with at least one row")
    return table


def find(path: Path) -> list[tuple[str, Path]]:
    """The files at `path`, each with the name its rows bear: the file's own, or its path inside the folder.

    A folder is read whole, in sorted order; its files must be of one type and of one split.
    """
    try:
        if path.is_file():
            return [(path.name, path)]
        inside = sorted(item for item in _inside(path) if not _hidden(item.relative_to(path)) and item.is_file())
    except OSError as error:
        what = f"it cannot be read ({error.strerror})"
        raise DataError(what, str(error.filename or path), "Check that you may read it") from error
    files = [(item.relative_to(path).as_posix(), item) for item in inside if kind(item)]
    if not files:
        raise DataError("the folder holds no data file", str(path), KNOWN)
    _refuse_mixture(path, files)
    return files


def _inside(folder: Path) -> Iterator[Path]:
    """Everything below a folder. Raises `DataError` where it is none, OSError where a part may not be read."""
    if not folder.is_dir():
        if folder.exists():
            raise DataError("this is neither a file nor a folder", str(folder), "Write the rows to a file")
        raise DataError("there is no such file or folder", str(folder), _nearest(folder))

    def stop(error: OSError) -> None:
        raise error

    for here, _, names in os.walk(folder, onerror=stop):
        yield from (Path(here, name) for name in names)


def _refuse_mixture(folder: Path, files: list[tuple[str, Path]]) -> None:
    by_kind = {kind(path): name for name, path in files}
    if len(by_kind) > 1:
        raise DataError(
            f"the folder mixes types of files ({', '.join(by_kind.values())})",
            str(folder),
            "List the files that are meant, each as an entry of `data`",
        )
    by_split = {split: name for name, _ in files for split in _splits(name)}
    if len(by_split) > 1:
        raise DataError(
            f"the folder holds files of several splits ({', '.join(by_split.values())})",
            str(folder),
            "List each file as an entry of `data` with its `split`",
        )


def _splits(name: str) -> set[str]:
    return {SPLIT_WORDS[word] for word in re.split(r"[^a-z]+", name.lower()) if word in SPLIT_WORDS}


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _nearest(path: Path) -> str:
    if path.is_symlink():
        return "It is a link that leads nowhere"
    if "*" in path.name:
        return "Name the folder, or each file as an entry of `data`: patterns are not filled in"
    names = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    if near:
        return f"Did you mean {path.with_name(near[0])}?"
    return "Relative paths start from the recipe's folder; a dataset of the hub is written hub:owner/name"
