"""What the routes that ask a model share: the trace of a request, its deadline, and a client that leaves."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from fastapi import Request

from luthier.api.errors import refusal_of
from luthier.serve.model import Model
from luthier.serve.refusals import BadRequest, Left, Overdue
from luthier.serve.trace import Trace

Result = TypeVar("Result")
CLIENTS_TIMEOUT = "x-stainless-read-timeout"
"""What OpenAI's clients say of how long they will wait."""


def begin(request: Request, route: str, prefix: str, body: Mapping[str, Any], size: int) -> Trace:
    """The trace of a request that has just been read; its id is that of the reply."""
    model = body.get("model")
    return Trace(
        id=prefix + secrets.token_hex(12), route=route, model=model[:512] if isinstance(model, str) else "",
        request=body, key_id=request.scope["state"].get("key_id"), size=size,
    )  # fmt: skip


def serves(request: Request, trace: Trace, model: Model) -> None:
    """The name was found: this model answers."""
    trace.served, trace.run_id = model.ref, model.run_id
    request.scope["state"]["served"] = model.ref


def end(request: Request, trace: Trace, error: BaseException | None = None) -> None:
    """The reply has ended, well or with an error: keep its trace, and count it."""
    if error is not None:
        trace.status, trace.error = _told(error)
    request.app.state.measures.add(trace)
    request.app.state.tracer.add(trace)


def _told(error: BaseException) -> tuple[int, str]:
    if isinstance(error, asyncio.CancelledError):
        return 499, "the answer was given up: the client left, or the server stopped"
    refusal = refusal_of(error) if isinstance(error, Exception) else None
    return (refusal.status, str(refusal)) if refusal else (500, f"{type(error).__name__}: {error}")


def seconds_left(request: Request) -> float:
    """How long the answer may take: what the client says (`x-request-timeout`, seconds), at most what the server
    allows. Raises BadRequest."""
    allowed, asked = request.app.state.timeout_seconds, request.headers.get("x-request-timeout")
    said = request.headers.get(CLIENTS_TIMEOUT) if asked is None else asked
    with suppress(ValueError):
        if said is None or 0 < float(said) < math.inf:
            return float(min(allowed, float(said or allowed)))
    if asked is None:
        return float(allowed)
    raise BadRequest(f"`x-request-timeout` must be a number of seconds, not {asked!r}", "x-request-timeout")


def overdue(seconds: float) -> Overdue:
    return Overdue(f"there was no whole answer within {seconds:g} seconds; ask for fewer tokens, or allow more time")


async def unless_left(request: Request, work: Awaitable[Result], seconds: float) -> Result:
    """The result of `work`, which is cancelled where the client leaves (Left) or the time is over (Overdue)."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(left(request))
    try:
        await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Left if gone.done() else overdue(seconds)
    finally:
        gone.cancel()
        await cancelled(task)


async def left(request: Request) -> None:
    """Returns when the client has closed the connection; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def cancelled(task: asyncio.Future[Any]) -> None:
    """Cancel a task and wait for its end, whatever it is."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
