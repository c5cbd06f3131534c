"""Uploaded files: rows, pages, expiry, bytes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from luthier.errors import NotFound, StoreError
from luthier.store import Home, uploads


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows"
    path.write_bytes(b"spruce\n" * 1000)
    return path


def add(home: Home, path: Path, name: str = "a.jsonl", **values) -> uploads.File:
    return uploads.add(home, path, **{"filename": name, "purpose": "fine-tune", **values})


def test_a_file_comes_back_as_it_went_in(home: Home, rows: Path, tmp_path: Path) -> None:
    file = add(home, rows)
    assert uploads.get(home, file.id) == file
    assert (file.bytes, file.filename, file.expires_at) == (7000, "a.jsonl", None)
    assert b"".join(home.blobs.chunks(file.sha256)) == rows.read_bytes()
    assert home.blobs.get_file(file.sha256, tmp_path / "deep" / "copy").read_bytes() == rows.read_bytes()


def test_the_same_id_twice_is_one_file(home: Home, rows: Path) -> None:
    first = add(home, rows, id="file-1")
    rows.write_bytes(b"other")
    assert add(home, rows, id="file-1") == first
    assert len(uploads.list_page(home)[0]) == 1


def test_pages_follow_each_other_in_both_orders(home: Home, rows: Path) -> None:
    files = [add(home, rows, f"{i}.jsonl") for i in range(5)]
    page, more = uploads.list_page(home, limit=2)
    assert (page, more) == ([files[4], files[3]], True)
    page, more = uploads.list_page(home, limit=3, after=files[3].id)
    assert (page, more) == ([files[2], files[1], files[0]], False)
    page, more = uploads.list_page(home, limit=2, after=files[0].id, newest_first=False)
    assert (page, more) == ([files[1], files[2]], True)
    with pytest.raises(NotFound, match="nosuch"):
        uploads.list_page(home, after="nosuch")


def test_files_are_listed_by_purpose(home: Home, rows: Path) -> None:
    add(home, rows)
    other = add(home, rows, purpose="batch")
    assert uploads.list_page(home, purpose="batch") == ([other], False)


def test_a_file_that_was_removed_or_whose_time_is_over_is_gone(
    home: Home, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed, over, kept = add(home, rows), add(home, rows, lifetime_seconds=60), add(home, rows, lifetime_seconds=9999)
    uploads.remove(home, removed.id)
    later = (datetime.now(UTC) + timedelta(seconds=600)).isoformat(timespec="microseconds")
    monkeypatch.setattr(uploads, "now", lambda: later)
    for file in (removed, over):
        with pytest.raises(NotFound, match=file.id):
            uploads.get(home, file.id)
        with pytest.raises(NotFound):
            uploads.remove(home, file.id)
    assert uploads.list_page(home) == ([kept], False)


def test_damaged_bytes_are_not_passed_off_as_whole(home: Home, rows: Path) -> None:
    file = add(home, rows)
    path = next(path for path in (home.root / "blobs").rglob(file.sha256))
    path.write_bytes(b"maple\n")
    with pytest.raises(StoreError, match="damaged"):
        list(home.blobs.chunks(file.sha256))
