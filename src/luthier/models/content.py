"""The content hash of large files, remembered so that an unchanged file is read once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from luthier.store.files import sha256_file, write_atomic


def content_sha256(files: Sequence[Path], cache: Path) -> str:
    """The SHA-256 of one file, or of the names and hashes of several (a sharded model), in order of name.

    A file's hash is kept under `cache/sha256` by its path, size and modification time.
    """
    hashes = [(path.name, _remembered(path, cache)) for path in sorted(files)]
    if len(hashes) == 1:
        return hashes[0][1]
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()


def _remembered(path: Path, cache: Path) -> str:
    stat = path.stat()
    identity = f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}"
    note = cache / "sha256" / hashlib.sha256(identity.encode()).hexdigest()
    if not note.exists():
        write_atomic(note, sha256_file(path))
    return note.read_text()
