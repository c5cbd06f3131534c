"""Files as clients send them: written to the disk, named, and given a purpose."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

from starlette.datastructures import UploadFile

from luthier.serve.refusals import BadRequest
from luthier.store import Home
from luthier.store.files import replacing

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
LIFETIMES = range(3600, 30 * 24 * 3600 + 1)
"""Seconds after which a file may expire."""
COPIED_BYTES = 1 << 20


@contextmanager
def place(home: Home) -> Iterator[Path]:
    """A path in the home to write to, which is cleared at the end."""
    path = home.cache("uploads") / secrets.token_hex(8)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def write(sent: UploadFile, path: Path) -> None:
    """Put what was sent into a file. Raises BadRequest where it is empty."""
    with replacing(path) as target:
        while chunk := sent.file.read(COPIED_BYTES):
            target.write(chunk)
    if not path.stat().st_size:
        raise BadRequest("the file is empty", "file")


def name_of(given: Any) -> str:
    """The file's name without folders. Raises BadRequest where there is none."""
    name = PurePath(given.replace("\\", "/")).name if isinstance(given, str) else ""
    if not name:
        raise BadRequest("a file with a name is missing", "filename")
    return name


def purpose_of(given: Any) -> str:
    """Raises BadRequest where it is no purpose."""
    if given not in PURPOSES:
        raise BadRequest(f"{given!r} is no purpose; there are {', '.join(PURPOSES)}", "purpose")
    return str(given)


def lifetime_of(anchor: Any, seconds: Any) -> int | None:
    """Seconds, from the two parts of `expires_after`; None where neither is given. Raises BadRequest."""
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise BadRequest("the anchor must be `created_at`", "expires_after[anchor]")
    if not str(seconds).isdecimal() or int(str(seconds)) not in LIFETIMES:
        words = f"{LIFETIMES.start} to {LIFETIMES.stop - 1}"
        raise BadRequest(f"a file may expire after {words} seconds", "expires_after[seconds]")
    return int(str(seconds))
