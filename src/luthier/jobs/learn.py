"""Feedback as people work with it: added, reviewed, and turned into rows to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from luthier.data.sources.jsonl import read_jsonl
from luthier.errors import DataError
from luthier.feedback.receive import receive
from luthier.store import Home


def add(home: Home, items: Sequence[Any] | None, file: Path | None = None) -> list[dict[str, Any]]:
    """Store pieces of feedback, or those of a file of JSON Lines; all of them, or none.

    Raises a LuthierError where one is wrong, or its answer is not there.
    """
    if file is not None:
        if not file.is_file():
            raise DataError("there is no such file", str(file), "Give a file of JSON Lines")
        items = read_jsonl(file, file.name).rows
    return [asdict(row) for row in receive(home, items or [])]
