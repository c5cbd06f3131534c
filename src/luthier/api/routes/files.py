"""Files: `/v1/files`, as OpenAI's clients upload, list, read and delete them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from luthier.api import sent_files
from luthier.api.limits import FILE_BYTES
from luthier.api.lists import listed
from luthier.api.reading import ERRORS, FILE
from luthier.serve.refusals import BadRequest, TooLarge
from luthier.store import Home, uploads
from luthier.store.clock import unix
from luthier.store.files import sha256_file

MOST_FIELDS = 8

router = APIRouter(prefix="/v1", tags=["files"], responses=ERRORS)


@router.post("/files", openapi_extra=FILE)
async def create(request: Request) -> dict[str, Any]:
    """Keep a file. The same one sent again by a client that lost the reply is kept once."""
    home: Home = request.app.state.home
    async with request.form(max_files=1, max_fields=MOST_FIELDS) as form:
        sent = form.get("file")
        if not isinstance(sent, UploadFile):
            raise BadRequest("the file is missing: send a form with `file` and `purpose`", "file")
        name, purpose = sent_files.name_of(sent.filename), sent_files.purpose_of(form.get("purpose"))
        lifetime = sent_files.lifetime_of(form.get("expires_after[anchor]"), form.get("expires_after[seconds]"))
        with sent_files.place(home) as path:
            sha256 = await run_in_threadpool(_written, sent, path)
            who = request.scope["state"].get("key_id")
            parts = ("POST /files", who, sha256, name, purpose, str(lifetime))
            add = partial(uploads.add, home, path, filename=name, purpose=purpose, lifetime_seconds=lifetime)
            return await request.app.state.once(request.headers, parts, partial(_added, add))


def _written(sent: UploadFile, path: Path) -> str:
    """The hash of what was sent, once it lies on the disk. Raises BadRequest and TooLarge for its size."""
    sent_files.write(sent, path)
    if path.stat().st_size > FILE_BYTES:
        raise TooLarge(f"a file may have at most {FILE_BYTES // 2**20} MiB")
    return sha256_file(path)


async def _added(add: Callable[[], uploads.File]) -> dict[str, Any]:
    return described(await run_in_threadpool(add))


@router.get("/files")
def index(
    request: Request, after: str | None = None, purpose: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000, order: Literal["asc", "desc"] = "desc",
) -> dict[str, Any]:  # fmt: skip
    """A page of files."""
    found, more = uploads.list_page(
        request.app.state.home, after=after, limit=limit, newest_first=order == "desc", purpose=purpose
    )
    return listed([described(file) for file in found], more)


@router.get("/files/{file_id}")
def retrieve(request: Request, file_id: str) -> dict[str, Any]:
    """What is known of a file."""
    return described(uploads.get(request.app.state.home, file_id))


@router.delete("/files/{file_id}")
def delete(request: Request, file_id: str) -> dict[str, Any]:
    """Forget a file. Jobs that were given it go on."""
    uploads.remove(request.app.state.home, file_id)
    return {"id": file_id, "object": "file", "deleted": True}


@router.get("/files/{file_id}/content")
def content(request: Request, file_id: str) -> Response:
    """Its bytes."""
    home: Home = request.app.state.home
    file = uploads.get(home, file_id)
    headers = {
        "content-disposition": f"attachment; filename*=utf-8''{quote(file.filename)}",
        "content-length": str(file.bytes),
    }
    return StreamingResponse(home.blobs.chunks(file.sha256), media_type="application/octet-stream", headers=headers)


def described(file: uploads.File) -> dict[str, Any]:
    """As a client reads it. Its types know no purpose `evals` in a reply, which is therefore called `user_data`."""
    known = "user_data" if file.purpose == "evals" else file.purpose
    return {
        "id": file.id, "object": "file", "bytes": file.bytes, "created_at": unix(file.created_at),
        "expires_at": file.expires_at and unix(file.expires_at), "filename": file.filename, "purpose": known,
        "status": "processed", "status_details": None, "luthier_purpose": file.purpose,
    }  # fmt: skip
