"""Large files that come in parts: a folder each until they are whole, and then a file like any other.

uploads/<upload id>/
    upload.json    what was announced, and the state
    part_…         the parts, in any order
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from luthier.errors import NotFound, StoreError
from luthier.store import uploads
from luthier.store.clock import now
from luthier.store.files import CHUNK_BYTES, Lock, disk_errors, read_json, replacing, write_json
from luthier.store.home import Home

ABOUT = "upload.json"
UPLOAD, PART = re.compile(r"upload_[0-9a-f]{24}"), re.compile(r"part_[0-9a-f]{24}")
OPEN_SECONDS = 3600
"""How long parts are taken."""
KEPT_SECONDS = 24 * 3600
"""How long the folder of an upload stays after that."""


class WrongParts(StoreError):
    """The parts are not what was announced, or the upload takes none any more."""


@dataclass(frozen=True)
class Upload:
    """What was announced: so many `bytes` under this name; `file_id` once they are there."""

    id: str
    created_at: str
    expires_at: str
    filename: str
    purpose: str
    bytes: int
    lifetime_seconds: int | None
    status: Literal["pending", "completed", "cancelled", "expired"] = "pending"
    file_id: str | None = None


def begin(home: Home, *, filename: str, purpose: str, bytes: int, lifetime_seconds: int | None = None) -> Upload:
    """Announce a file. Uploads that were given up long ago are forgotten."""
    _tidy(home)
    name = f"upload_{secrets.token_hex(12)}"
    upload = Upload(name, now(), _in(OPEN_SECONDS), filename, purpose, bytes, lifetime_seconds)
    _write(home, upload)
    return upload


def get(home: Home, upload_id: str) -> Upload:
    """Raises NotFound."""
    path = _folder(home, upload_id) / ABOUT
    if not UPLOAD.fullmatch(upload_id) or not path.exists():
        raise NotFound(f"there is no upload {upload_id!r}", mend="Begin another")
    upload = Upload(**read_json(path))
    over = upload.status == "pending" and upload.expires_at < now()
    return replace(upload, status="expired") if over else upload


def add_part(home: Home, upload_id: str, content: Path) -> str:
    """Take the file `content` as a part; its id. Raises NotFound, and WrongParts where no part is taken any more."""
    with Lock(_folder(home, _pending(home, upload_id).id) / "lock"):
        upload, folder, part = _pending(home, upload_id), _folder(home, upload_id), f"part_{secrets.token_hex(12)}"
        there = sum(path.stat().st_size for path in folder.glob("part_*"))
        if there + content.stat().st_size > upload.bytes:
            raise WrongParts(f"the parts have more than the {upload.bytes} bytes that were announced", upload_id)
        with disk_errors(folder):
            shutil.move(content, folder / part)
    return part


def complete(home: Home, upload_id: str, part_ids: Sequence[str], md5: str | None = None) -> Upload:
    """Make a file of the parts, in this order. Raises NotFound, WrongParts where they are not what was announced."""
    with Lock(_folder(home, _pending(home, upload_id).id) / "lock"):
        upload, whole = _pending(home, upload_id), _folder(home, upload_id) / "whole"
        try:
            _join(upload, [_part(home, upload, part) for part in part_ids], whole, md5)
            file_id = f"file-{hashlib.sha256(upload.id.encode()).hexdigest()[:24]}"
            file = uploads.add(home, whole, filename=upload.filename, purpose=upload.purpose,
                               lifetime_seconds=upload.lifetime_seconds, id=file_id)  # fmt: skip
        finally:
            whole.unlink(missing_ok=True)
        done = replace(upload, status="completed", file_id=file.id)
        _write(home, done)
        for path in _folder(home, upload_id).glob("part_*"):
            path.unlink()
    return done


def cancel(home: Home, upload_id: str) -> Upload:
    """Take no more parts, and forget those that came. Raises NotFound, and WrongParts where it has ended."""
    with Lock(_folder(home, _pending(home, upload_id).id) / "lock"):
        cancelled = replace(_pending(home, upload_id), status="cancelled")
        _write(home, cancelled)
        for path in _folder(home, upload_id).glob("part_*"):
            path.unlink()
    return cancelled


def _pending(home: Home, upload_id: str) -> Upload:
    upload = get(home, upload_id)
    if upload.status != "pending":
        raise WrongParts(f"the upload is {upload.status}", upload_id, "Begin another")
    return upload


def _part(home: Home, upload: Upload, part: str) -> Path:
    path = _folder(home, upload.id) / part
    if not PART.fullmatch(part) or not path.exists():
        raise WrongParts(f"the upload has no part {part!r}", upload.id)
    return path


def _join(upload: Upload, parts: Sequence[Path], target: Path, md5: str | None) -> None:
    digest, size = hashlib.md5(usedforsecurity=False), 0
    with replacing(target) as file:
        for part in parts:
            with part.open("rb") as source:
                while chunk := source.read(CHUNK_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
                    file.write(chunk)
    if size != upload.bytes:
        raise WrongParts(f"the parts have {size} bytes, and {upload.bytes} were announced", upload.id)
    if md5 is not None and md5.lower() != digest.hexdigest():
        raise WrongParts("the bytes do not have this md5", upload.id, "Send the parts again")


def _tidy(home: Home) -> None:
    oldest = datetime.now(UTC).timestamp() - OPEN_SECONDS - KEPT_SECONDS
    for about in (home.root / "uploads").glob(f"*/{ABOUT}"):
        if about.stat().st_mtime < oldest:
            shutil.rmtree(about.parent, ignore_errors=True)


def _folder(home: Home, upload_id: str) -> Path:
    return home.root / "uploads" / upload_id


def _write(home: Home, upload: Upload) -> None:
    write_json(_folder(home, upload.id) / ABOUT, asdict(upload))


def _in(seconds: int) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="microseconds")
