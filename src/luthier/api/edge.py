"""The outermost layer of every request: its id, what becomes of a bug, and what is counted."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.api.errors import internal, refusal_of, reply

Count = Callable[[str, str, int, float], None]
"""Is told (route, model, status, seconds) of every reply."""


def edge(app: ASGIApp, count: Count) -> ASGIApp:
    """`app`, with `x-request-id` on each reply and no error that is not in the one shape."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        scope["state"] = state = {**scope.get("state", {}), "request_id": f"req_{secrets.token_hex(12)}"}
        header = (b"x-request-id", state["request_id"].encode())
        status, begun = 0, time.perf_counter()

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        try:
            await app(scope, receive, send_on)
        except Exception as error:
            if status:  # its end will be missing, and the client sees that
                if refusal_of(error) is None:
                    internal(error, state["request_id"])
                return
            refusal = refusal_of(error)
            response = reply(refusal) if refusal else JSONResponse(internal(error, state["request_id"]), 500)
            await response(scope, receive, send_on)
        finally:
            count(_route(scope), scope["state"].get("served", ""), status, time.perf_counter() - begun)

    return run


def _route(scope: Scope) -> str:
    """The pattern of the path, never the path: there are as many of these as there are routes."""
    route: Any = scope.get("route")
    return str(getattr(route, "path", "none"))
