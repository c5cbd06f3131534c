"""One shape of error for everything: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from luthier.errors import EngineLost, LuthierError, NotFound, StoreError
from luthier.serve.refusals import BadRequest, Left, NotThere, Refusal, Unavailable


def install(app: FastAPI) -> None:
    """Have every error that a route raises on purpose answered in this shape."""
    app.add_exception_handler(LuthierError, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)


def refusal_of(error: Exception) -> Refusal | None:
    """What a client is told of an error that was raised on purpose; None for a bug.

    The places that a LuthierError names are paths of the server's machine: they stay here.
    """
    if isinstance(error, Refusal):
        return error
    if isinstance(error, ClientDisconnect):
        return Left()
    if not isinstance(error, LuthierError):
        return None
    if isinstance(error, EngineLost):
        return Unavailable(str(error), code="engine_unavailable")
    if isinstance(error, NotFound):
        return NotThere(str(NotFound(error.what, mend=error.mend)))
    if isinstance(error, StoreError) and error.__cause__ is not None:  # the disk or the database, not what was asked
        return Unavailable("the server's store cannot be used at the moment", code="store_unavailable")
    return BadRequest(str(LuthierError(error.what, mend=error.mend)))


def reply(refusal: Refusal) -> JSONResponse:
    """The refusal as a response."""
    return JSONResponse(refusal.body(), refusal.status, refusal.headers)


def internal(error: BaseException, request_id: str) -> dict[str, Any]:
    """The body of a reply to a bug of ours. Its stack trace goes to stderr, with the request's id, and nowhere else."""
    lines = "".join(traceback.format_exception(error))
    print(f"request {request_id} failed:\n{lines}", file=sys.stderr, flush=True)
    message = f"The server failed to answer. Its log says why, under {request_id}."
    return {"error": {"message": message, "type": "server_error", "param": None, "code": "internal_error"}}


def request_id(scope: Mapping[str, Any]) -> str:
    """The id that goes with the reply as `x-request-id`."""
    return str(scope["state"]["request_id"])


async def _refused(request: Request, error: Exception) -> JSONResponse:
    refusal = refusal_of(error)
    assert refusal is not None
    if refusal.status >= 500:
        print(f"request {request_id(request.scope)}: {error}", file=sys.stderr, flush=True)
    return reply(refusal)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    path = request.url.path
    said = {
        404: f"there is no {request.method} {path}",
        405: f"{path} does not answer {request.method}",
    }
    codes = {404: "unknown_route", 405: "method_not_allowed"}
    headers = {"allow": ", ".join(_methods(request))} if error.status_code == 405 else error.headers
    refusal = Refusal(said.get(error.status_code, str(error.detail)), code=codes.get(error.status_code),
                      headers=headers)  # fmt: skip
    return JSONResponse(refusal.body(), error.status_code, refusal.headers)


def _methods(request: Request) -> list[str]:
    """All that the path answers, of whichever routes."""
    routes = [route for router in request.app.state.routers for route in router.routes]
    matching = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in matching for method in route.methods})


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """Of several faults the first is told, by the name of its field."""
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    field = ".".join(str(part) for part in fault["loc"][1:]) or None
    return reply(BadRequest(f"{field or 'the request'}: {fault['msg']}", field, "invalid_value"))
