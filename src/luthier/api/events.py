"""Answers as server-sent events: what has come is sent at once and together, and silence is filled with comments."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from luthier.api.answering import cancelled, left, overdue
from luthier.api.errors import internal, refusal_of, request_id
from luthier.serve.refusals import Left

SILENCE_SECONDS = 10.0
"""After so long without a piece the reply begins in any case, and a comment is sent."""
STALLED_SECONDS = 60.0
"""A client that reads nothing for so long has left."""
KEEP_ALIVE = b": waiting\n\n"
LAST = b"data: [DONE]\n\n"
Ended = Callable[[BaseException | None], None]


class Events(Response):
    """An answer that is being written. `ended` is told, once, how it went."""

    media_type = "text/event-stream"

    def __init__(self, request: Request, chunks: AsyncIterator[dict[str, Any]], seconds: float, ended: Ended) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self.request, self.seconds, self.ended = request, seconds, ended
        self._wake, self._waiting = asyncio.Event(), bytearray()
        self._pump = asyncio.ensure_future(self._run(chunks))
        self._gone = asyncio.ensure_future(left(request))
        for task in (self._pump, self._gone):
            task.add_done_callback(lambda _: self._wake.set())

    async def ready(self) -> Events:
        """Self, once there is something to send. Raises what went wrong before that."""
        error: BaseException | None = None
        try:
            await self._something()
            if not self._waiting and (self._pump.done() or self._gone.done()):
                error = self._error()
        except BaseException as failure:
            error = failure
        if error is not None:
            await self._finish(error)
            raise error
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the answer, the time or the client's patience ends."""
        error: BaseException | None = None
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._send_all(partial(_send, send))
            error = self._error()
        except BaseException as failure:
            error = failure
            raise
        finally:
            await self._finish(error)

    async def _run(self, chunks: AsyncIterator[dict[str, Any]]) -> None:
        try:
            async with asyncio.timeout(self.seconds), aclosing(chunks):  # type: ignore[type-var]
                async for chunk in chunks:
                    self._waiting += _event(chunk)
                    self._wake.set()
        except TimeoutError:
            raise overdue(self.seconds) from None

    async def _send_all(self, send: Callable[[bytes, bool], Awaitable[None]]) -> None:
        """Each time all that has come, and the end with the last of it."""
        while not self._gone.done():
            await asyncio.sleep(0)  # the pump may be about to end
            body, self._waiting, ended = bytes(self._waiting), bytearray(), self._pump.done()
            if ended:
                error = self._error()
                await send(body + (LAST if error is None else _event(self._told(error))), False)
                return
            if body:
                await send(body, True)
            elif not await self._something():
                await send(KEEP_ALIVE, True)
        await send(b"", False)

    async def _something(self) -> bool:
        """Whether anything has come, or ended, before the silence has lasted too long."""
        clock = asyncio.get_running_loop()
        until = clock.time() + SILENCE_SECONDS
        over = clock.call_at(until, self._wake.set)
        try:
            while not (self._waiting or self._pump.done() or self._gone.done()):
                if clock.time() >= until:
                    return False
                await self._wake.wait()
                self._wake.clear()
            return True
        finally:
            over.cancel()

    def _error(self) -> BaseException | None:
        if not self._pump.done():
            return Left()
        return asyncio.CancelledError() if self._pump.cancelled() else self._pump.exception()

    def _told(self, error: BaseException) -> dict[str, Any]:
        refusal = refusal_of(error) if isinstance(error, Exception) else None
        return refusal.body() if refusal else internal(error, request_id(self.request.scope))

    async def _finish(self, error: BaseException | None) -> None:
        self._gone.cancel()
        await cancelled(self._pump)
        self.ended(error)


async def _send(send: Send, body: bytes, more: bool) -> None:
    try:
        async with asyncio.timeout(STALLED_SECONDS):
            await send({"type": "http.response.body", "body": body, "more_body": more})
    except TimeoutError:
        raise Left from None


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
