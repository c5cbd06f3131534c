"""Large files in parts: `/v1/uploads`, as OpenAI's clients send them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from luthier.api import sent_files
from luthier.api.limits import read_object
from luthier.api.reading import ERRORS
from luthier.api.routes.files import described as described_file
from luthier.serve.refusals import BadRequest
from luthier.store import Home, upload_parts, uploads
from luthier.store.clock import now, unix
from luthier.store.upload_parts import Upload, WrongParts

MOST_BYTES = 8 * 2**30

router = APIRouter(prefix="/v1", tags=["uploads"], responses=ERRORS)


@router.post("/uploads")
async def create(request: Request) -> dict[str, Any]:
    """Announce a file."""
    body, state = await read_object(request), request.app.state
    size, expires = body.get("bytes"), body.get("expires_after") or {}
    if type(size) is not int or not 0 < size <= MOST_BYTES:
        raise BadRequest(f"1 to {MOST_BYTES} bytes may be announced", "bytes")
    if not isinstance(expires, dict):
        raise BadRequest("`expires_after` must be an object", "expires_after")
    begin = partial(
        upload_parts.begin, state.home, bytes=size, filename=sent_files.name_of(body.get("filename")),
        purpose=sent_files.purpose_of(body.get("purpose")),
        lifetime_seconds=sent_files.lifetime_of(expires.get("anchor"), expires.get("seconds")),
    )  # fmt: skip

    async def made() -> dict[str, Any]:
        return described(state.home, await run_in_threadpool(begin))

    parts = ("POST /uploads", request.scope["state"].get("key_id"), await request.body())
    return await state.once(request.headers, parts, made)


@router.post("/uploads/{upload_id}/parts")
async def add(request: Request, upload_id: str) -> dict[str, Any]:
    """Take a part."""
    home: Home = request.app.state.home
    async with request.form(max_files=1, max_fields=1) as form:
        sent = form.get("data")
        if not isinstance(sent, UploadFile):
            raise BadRequest("a part is missing: send a form with `data`", "data")
        with sent_files.place(home) as path:
            await run_in_threadpool(sent_files.write, sent, path)
            part = await run_in_threadpool(_told, partial(upload_parts.add_part, home, upload_id, path))
    return {"id": part, "object": "upload.part", "created_at": unix(now()), "upload_id": upload_id}


@router.post("/uploads/{upload_id}/complete")
async def complete(request: Request, upload_id: str) -> dict[str, Any]:
    """Make a file of the parts."""
    body, home = await read_object(request), request.app.state.home
    part_ids, md5 = body.get("part_ids"), body.get("md5")
    if not isinstance(part_ids, list) or not all(isinstance(part, str) for part in part_ids):
        raise BadRequest("`part_ids` must be a list of the parts' ids", "part_ids")
    if not isinstance(md5, str | None):
        raise BadRequest("`md5` must be text", "md5")
    done = await run_in_threadpool(_told, partial(upload_parts.complete, home, upload_id, part_ids, md5))
    return described(home, done)


@router.post("/uploads/{upload_id}/cancel")
def cancel(request: Request, upload_id: str) -> dict[str, Any]:
    """Take no more parts."""
    home: Home = request.app.state.home
    return described(home, _told(partial(upload_parts.cancel, home, upload_id)))


def _told(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except WrongParts as error:
        raise BadRequest(error.what, code="wrong_parts") from None


def described(home: Home, upload: Upload) -> dict[str, Any]:
    """As a client reads it."""
    return {
        "id": upload.id, "object": "upload", "bytes": upload.bytes, "created_at": unix(upload.created_at),
        "expires_at": unix(upload.expires_at), "filename": upload.filename, "purpose": upload.purpose,
        "status": upload.status, "file": upload.file_id and described_file(uploads.get(home, upload.file_id)),
    }  # fmt: skip
