"""What a request may cost before it is understood: bytes, seconds, nesting."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.api.errors import reply
from luthier.serve.refusals import BadRequest, Overdue, Refusal, TooLarge

MEBIBYTE = 1 << 20
BODY_BYTES = 8 * MEBIBYTE
FILE_BYTES = 512 * MEBIBYTE
LARGER = {"/v1/files": FILE_BYTES + MEBIBYTE, "/v1/uploads": 65 * MEBIBYTE}
"""Path prefix → bytes of a body; the mebibyte is for what surrounds a file in a form."""
DRAINED_BYTES = 64 * MEBIBYTE
"""What is still read of a body that is too large, so that its sender hears why."""
PATIENCE_SECONDS = 30.0
BYTES_PER_SECOND = 64 * 1024
"""A body has this long, and a second more for so many bytes as have come."""
DEPTH = 100


def limits(app: ASGIApp) -> ASGIApp:
    """`app`, reading no body that is too large or too slow."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        most = next((size for prefix, size in LARGER.items() if scope["path"].startswith(prefix)), BODY_BYTES)
        told = dict(scope["headers"]).get(b"content-length", b"0")
        if told.isdigit() and int(told) > most:
            await _drain(receive, int(told))
            await reply(_too_large(most))(scope, receive, send)
            return
        await app(scope, _bounded(receive, most), send)

    return run


def _bounded(receive: Receive, most: int) -> Receive:
    loop = asyncio.get_running_loop()
    begun, seen, whole = loop.time(), 0, False

    async def bounded() -> Message:
        nonlocal seen, whole
        if whole:
            return await receive()
        try:
            async with asyncio.timeout_at(begun + PATIENCE_SECONDS + seen / BYTES_PER_SECOND):
                message = await receive()
        except TimeoutError:
            raise _closing(Overdue(f"the body came too slowly: {seen} bytes in {loop.time() - begun:.0f} s")) from None
        seen += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if seen > most:
            await _drain(receive, seen)
            raise _closing(_too_large(most))
        return message

    return bounded


def _too_large(most: int) -> Refusal:
    return TooLarge(f"the body is larger than {most // MEBIBYTE} MiB")


def _closing(refusal: Refusal) -> Refusal:
    """The rest of the body is not read, so the connection cannot be used again."""
    refusal.headers["connection"] = "close"
    return refusal


async def _drain(receive: Receive, seen: int) -> None:
    try:
        async with asyncio.timeout(5):
            while seen <= DRAINED_BYTES:
                message = await receive()
                seen += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object that the body holds. Raises BadRequest for anything else."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        what = f"not {kind}" if kind else "and the request does not say what it is"
        raise BadRequest(f"the body must be application/json, {what}", code="unsupported_content_type")
    return parse_object(await request.body())


def parse_object(body: bytes) -> dict[str, Any]:
    """Strict JSON: no NaN, no half of a surrogate pair, no deeper than `DEPTH`. Raises BadRequest."""
    try:
        value = json.loads(body, parse_constant=_no_constant)
        if b"\\u" in body:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeError as error:
        raise BadRequest(f"the body is not text: {error.reason}", code="invalid_json") from None  # type: ignore[attr-defined]
    except RecursionError:
        raise BadRequest(f"the body is nested more than {DEPTH} deep", code="invalid_json") from None
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}", code="invalid_json") from None
    if not isinstance(value, dict):
        raise BadRequest("the body must be a JSON object", code="invalid_json")
    if _deeper(value, DEPTH):
        raise BadRequest(f"the body is nested more than {DEPTH} deep", code="invalid_json")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _deeper(value: Any, depth: int) -> bool:
    """Whether containers stand in each other more than `depth` times."""
    level = [value]
    for _ in range(depth):
        level = [item for outer in level for item in (outer.values() if isinstance(outer, dict) else outer)
                 if isinstance(item, dict | list)]  # fmt: skip
        if not level:
            return False
    return True
