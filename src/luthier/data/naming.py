"""Names for files that are told apart, so that no two rows of a run have one id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from luthier.data.sources.files import find
from luthier.errors import DataError


def prefixes(paths: Sequence[Path]) -> list[str]:
    """What stands before the file names of each entry: nothing, or as many folders as tell all apart.

    Raises `DataError` where one file belongs to two entries.
    """
    files = [find(path) for path in paths]
    _refuse_twice([path.resolve() for entry in files for _, path in entry])
    depth = 0
    while True:
        found = [_tail(path, depth) for path in paths]
        names = [prefix + name for prefix, entry in zip(found, files, strict=True) for name, _ in entry]
        if len(set(names)) == len(names):
            return found
        depth += 1


def _tail(path: Path, depth: int) -> str:
    folders = (path.parent if path.is_file() else path).resolve().parts
    return "".join(f"{name}/" for name in folders[-depth:] if name != "/") if depth else ""


def _refuse_twice(paths: Sequence[Path]) -> None:
    twice = [path for path, times in Counter(paths).items() if times > 1]
    if twice:
        path = twice[0]
        raise DataError("the file belongs to two entries of `data`", str(path), "Remove one of them")
