"""Blobs and trees, on the local disk and on another file system of fsspec."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from uuid import uuid4

import pytest

from luthier.errors import MissingExtra, StoreError
from luthier.store.blobs import Blobs


@pytest.fixture(params=["local", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return Blobs(str(tmp_path / "blobs") if request.param == "local" else f"memory://{uuid4().hex}")


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    (folder / "deep").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "deep" / "weights.bin").write_bytes(bytes(range(256)) * 9000)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_bytes_come_back_under_their_hash(blobs: Blobs) -> None:
    sha = blobs.put(b"abc")
    assert sha == hashlib.sha256(b"abc").hexdigest() == blobs.put(b"abc")
    assert blobs.has(sha)
    assert blobs.get(sha) == b"abc"
    assert not blobs.has("0" * 64)


def test_a_file_has_the_same_hash_as_its_bytes(blobs: Blobs, adapter: Path) -> None:
    weights = adapter / "deep" / "weights.bin"
    assert blobs.put_file(weights) == blobs.put(weights.read_bytes())
    assert blobs.get(blobs.put_file(weights)) == weights.read_bytes()


def test_a_missing_blob_is_a_store_error(blobs: Blobs) -> None:
    with pytest.raises(StoreError, match="0000: this blob cannot be read"):
        blobs.get("0" * 64)


def test_a_tree_comes_back_as_it_was(blobs: Blobs, adapter: Path, tmp_path: Path) -> None:
    sha = blobs.put_tree(adapter)
    assert sorted(blobs.tree(sha)) == ["config.json", "deep/weights.bin"]
    assert content(blobs.get_tree(sha, tmp_path / "copy")) == content(adapter)
    assert blobs.put_tree(tmp_path / "copy") == sha
    blobs.get_tree(sha, tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "blobs") == ["adapter", "copy"]


def test_a_tree_is_not_written_over_other_files(blobs: Blobs, adapter: Path, tmp_path: Path) -> None:
    sha = blobs.put_tree(adapter)
    (adapter / "config.json").write_text("changed")
    with pytest.raises(StoreError, match="adapter: already holds other files"):
        blobs.get_tree(sha, adapter)
    assert (adapter / "config.json").read_text() == "changed"


def test_a_tree_that_cannot_be_read_whole_leaves_nothing(blobs: Blobs, tmp_path: Path) -> None:
    sha = blobs.put(json.dumps({"a": blobs.put(b"a"), "b": "0" * 64}).encode())
    with pytest.raises(StoreError, match="this blob cannot be read"):
        blobs.get_tree(sha, tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir() if path.name != "blobs"] == []


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out"])
def test_a_tree_stays_inside_its_folder(blobs: Blobs, tmp_path: Path, name: str) -> None:
    sha = blobs.put(json.dumps({name: blobs.put(b"a")}).encode())
    with pytest.raises(StoreError, match="is not a tree"):
        blobs.get_tree(sha, tmp_path / "copy")


def test_what_is_not_a_tree_is_refused(blobs: Blobs, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a tree"):
        blobs.get_tree(blobs.put(b"\xff"), tmp_path / "copy")
    with pytest.raises(StoreError, match="holds no file"):
        blobs.put_tree(tmp_path / "nothing")


def test_damage_is_found(tmp_path: Path) -> None:
    blobs = Blobs(str(tmp_path))
    sha = blobs.put(b"abc")
    (tmp_path / sha[:2] / sha).write_bytes(b"abd")
    with pytest.raises(StoreError, match="damaged"):
        blobs.get(sha)


def test_a_place_that_cannot_be_used_is_explained(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="LUTHIER_BLOB_URL must be"):
        Blobs("nosuch://bucket")
    with pytest.raises(MissingExtra, match=r"luthier\[s3\]"):
        Blobs("s3://bucket/luthier")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be"):
        Blobs(str(tmp_path / "file")).put(b"abc")
