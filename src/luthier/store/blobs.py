"""Bytes kept under their own hash, `<root>/<two digits>/<sha256>`, on any file system that fsspec knows."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from luthier.errors import MissingExtra, StoreError
from luthier.store.files import CHUNK_BYTES, disk_errors, replacing, sha256_file, write_atomic


class Blobs:
    """Content-addressed bytes. Storing the same content twice keeps it once; nothing is ever overwritten.

    A tree is a folder: a blob that holds `{path inside the folder: sha256}` as JSON.
    """

    def __init__(self, url: str) -> None:
        """`url` is a folder or an fsspec URL (`s3://bucket/luthier`), made by the first `put`."""
        self.url = url
        self._fs, root = _open(url)
        self._root = root.rstrip("/")
        self._local = isinstance(self._fs, LocalFileSystem)

    def put(self, content: bytes) -> str:
        """Store bytes and return their SHA-256."""
        sha = hashlib.sha256(content).hexdigest()
        if not self.has(sha):
            path = self._path(sha)
            if self._local:
                write_atomic(Path(path), content)
            else:
                with disk_errors(path):
                    self._fs.pipe_file(path, content)
        return sha

    def put_file(self, path: Path) -> str:
        """Store a file of any size and return its SHA-256."""
        sha = sha256_file(path)
        if self.has(sha):
            return sha
        if not self._local:
            with disk_errors(self._path(sha)):
                self._fs.put_file(str(path), self._path(sha))
            return sha
        with path.open("rb") as source, replacing(Path(self._path(sha))) as target:
            if _copy(source, target) != sha:
                raise StoreError("changed while it was being stored", str(path), "Try again")
        return sha

    def has(self, sha: str) -> bool:
        with disk_errors(self._path(sha), "cannot be looked up"):
            return bool(self._fs.exists(self._path(sha)))

    def get(self, sha: str) -> bytes:
        """The bytes of a blob. Raises StoreError if it is missing, or is not what its name says."""
        with self._reading(sha) as file:
            content: bytes = file.read()
        self._check(sha, hashlib.sha256(content).hexdigest())
        return content

    def chunks(self, sha: str) -> Iterator[bytes]:
        """The bytes of a blob in parts, for one that may not fit into memory.

        Raises StoreError where it is missing, and at its end where it was not what its name says.
        """
        digest = hashlib.sha256()
        with self._reading(sha) as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                yield chunk
        self._check(sha, digest.hexdigest())

    def get_file(self, sha: str, target: Path) -> Path:
        """Write a blob to `target`, whole or not at all, and return `target`."""
        self._fetch(sha, target)
        return target

    @contextmanager
    def _reading(self, sha: str) -> Iterator[Any]:
        path = self._path(sha)
        with disk_errors(path, "this blob cannot be read"), self._fs.open(path, "rb") as file:
            yield file

    def put_tree(self, folder: Path) -> str:
        """Store every file under `folder` and return the tree's hash. Raises StoreError if there is none."""
        with disk_errors(folder, "cannot be read"):
            files = sorted(path for path in folder.rglob("*") if path.is_file())
        if not files:
            raise StoreError("holds no file, or is not a folder", str(folder))
        tree = {path.relative_to(folder).as_posix(): self.put_file(path) for path in files}
        return self.put(json.dumps(tree, indent=1, sort_keys=True).encode())

    def tree(self, sha: str) -> dict[str, str]:
        """Path inside the folder → hash, of a stored tree."""
        try:
            tree = json.loads(self.get(sha))
        except ValueError as error:
            raise StoreError("is not a tree", self._path(sha)) from error
        if not isinstance(tree, dict) or not all(map(_stays_inside, tree)):
            raise StoreError("is not a tree", self._path(sha))
        return tree

    def get_tree(self, sha: str, target: Path) -> Path:
        """Write a stored tree to `target`, whole or not at all, and return `target`.

        A target that holds exactly this tree already is left alone. Raises StoreError if it holds other
        files.
        """
        tree = self.tree(sha)
        if not _is_empty(target):
            _expect(tree, target)
            return target
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        try:
            for name, blob in tree.items():
                self._fetch(blob, temporary / name)
            self._move(temporary, target, tree)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return target

    def _fetch(self, sha: str, target: Path) -> None:
        with self._reading(sha) as source, replacing(target) as file:
            self._check(sha, _copy(source, file))

    def _move(self, temporary: Path, target: Path, tree: dict[str, str]) -> None:
        with disk_errors(target):
            try:
                temporary.rename(target)
            except OSError:
                if _is_empty(target):
                    raise
                _expect(tree, target)  # another process was first

    def _path(self, sha: str) -> str:
        return f"{self._root}/{sha[:2]}/{sha}"

    def _check(self, sha: str, found: str) -> None:
        if found != sha:
            mend = "Delete the file and store its content again, or restore it from a backup"
            raise StoreError("this blob is damaged: its bytes do not have this hash", self._path(sha), mend)


def _open(url: str) -> tuple[Any, str]:
    try:
        return fsspec.url_to_fs(url)
    except ImportError as error:
        extra = "luthier[s3]" if url.startswith("s3") else f"the fsspec driver ({error})"
        raise MissingExtra(f"LUTHIER_BLOB_URL {url!r} needs a driver", mend=f"Install {extra}") from error
    except (ValueError, OSError) as error:
        mend = "LUTHIER_BLOB_URL must be a folder or a URL such as s3://bucket/luthier"
        raise StoreError(f"blobs cannot be kept there: {error}", url, mend) from error


def _copy(source: Any, target: Any) -> str:
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest()


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _is_empty(folder: Path) -> bool:
    with disk_errors(folder, "cannot be used as a folder"):
        return not folder.exists() or not any(folder.iterdir())


def _expect(tree: dict[str, str], folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    if {path.relative_to(folder).as_posix(): sha256_file(path) for path in files} != tree:
        raise StoreError("already holds other files", str(folder), "Choose a new or empty folder")
