"""Files that are whole or not there, and the lock of a folder that a process works in."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from luthier.errors import StoreError

PATIENCE_SECONDS = 0.5
CHUNK_BYTES = 1 << 20


@contextmanager
def disk_errors(path: Path | str, doing: str = "cannot be written") -> Iterator[None]:
    """Turn an OSError of the block into a StoreError that names `path` and how to mend it."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"{doing}: {error.strerror or error}", str(path), _mend(error.errno)) from error


def _mend(code: int | None) -> str:
    if code in (errno.ENOSPC, errno.EDQUOT):
        return "Free some space (`luthier clean` empties the caches), or move the home with LUTHIER_HOME"
    if code in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return "Choose a folder that you may write to; LUTHIER_HOME names the home"
    return ""


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends well, and vanishes when it does not."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file (text as UTF-8), with its folder, so that no reader ever sees a part of it."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON text. JSON has no NaN and no infinity: numbers that are not finite become null."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, indent=indent)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON; numbers that are not finite become null."""
    write_atomic(path, to_json(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Raises StoreError if the file cannot be read or does not hold JSON."""
    with disk_errors(path, "cannot be read"):
        content = path.read_bytes()
    try:
        return json.loads(content)
    except ValueError as error:
        raise StoreError(f"does not hold JSON ({error})", str(path)) from error


def sha256_file(path: Path) -> str:
    """The hash of a file's bytes, as 64 hex digits."""
    with disk_errors(path, "cannot be read"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Lock:
    """An exclusive lock on a file (`flock`), free again when the process ends, however it ends.

    Entering waits half a second at most, then raises StoreError with the number of the process that holds it.
    The file stays where it is. A process started by `fork` shares the lock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def __enter__(self) -> Lock:
        with disk_errors(self.path, "cannot be locked"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                self._take(file)
                os.ftruncate(file, 0)
                os.write(file, f"{os.getpid()}\n".encode())
            except BaseException:
                os.close(file)
                raise
        self._file = file
        return self

    def fileno(self) -> int:
        """The descriptor that holds the lock; a process that inherits it holds the lock as well."""
        assert self._file is not None
        return self._file

    def _take(self, file: int) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS  # `held` owns the lock for some microseconds
        while not _try_lock(file):
            if time.monotonic() > deadline:
                holder = os.pread(file, 20, 0).decode().strip() or "unknown"
                mend = f"Wait until it ends, or stop it: kill -INT {holder}"
                raise StoreError(f"process {holder} is working here", str(self.path.parent), mend)
            time.sleep(0.02)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        os.close(self._file)
        self._file = None


def held(path: Path) -> bool:
    """Whether a live process holds the lock at `path`."""
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(file)
    finally:
        os.close(file)


def holder(path: Path) -> int | None:
    """The number of the process that took the lock at `path` last, whether it lives or not."""
    with disk_errors(path, "cannot be read"):
        text = path.read_text() if path.exists() else ""
    return int(text) if text.strip().isdigit() else None


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
