"""/v1/feedback: what people say of answers, taken in, listed, and taken back."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request

from luthier.api.limits import read_object
from luthier.api.reading import ERRORS, FEEDBACK
from luthier.errors import DataError, LuthierError, NotFound
from luthier.feedback.receive import receive
from luthier.serve.redact import Redaction, redact
from luthier.serve.refusals import BadRequest
from luthier.store import Home, feedback
from luthier.store.feedback import Feedback

router = APIRouter(prefix="/v1/feedback", tags=["feedback"])
PATIENCE_SECONDS = 1.0
"""How long a trace is waited for: it is written a moment after its answer."""


@router.post("", responses=ERRORS, openapi_extra=FEEDBACK)
async def create(request: Request) -> dict[str, Any]:
    """One piece of feedback, or several as `{"feedback": […]}`, all of which are stored or none."""
    body, state = await read_object(request), request.app.state
    several = "feedback" in body
    if several and (set(body) != {"feedback"} or not isinstance(body["feedback"], list)):
        raise BadRequest("`feedback` must be a list, and stand alone", "feedback")
    items = [_redacted(item, state.tracer.redaction) for item in (body["feedback"] if several else [body])]
    found = [written(one) for one in await asyncio.to_thread(_received, state.home, items)]
    return {"object": "list", "data": found, "has_more": False} if several else found[0]


@router.get("", responses=ERRORS)
def listed(
    request: Request,
    trace_id: str | None = None,
    kind: Literal["rating", "correction", "choice", "label"] | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
) -> dict[str, Any]:
    """Newest first."""
    rows, more = feedback.list_page(request.app.state.home, trace_id=trace_id, kind=kind, after=after, limit=limit)
    ends = {"first_id": rows[0].id, "last_id": rows[-1].id} if rows else {"first_id": None, "last_id": None}
    return {"object": "list", "data": [written(one) for one in rows], "has_more": more, **ends}


@router.get("/{feedback_id}", responses=ERRORS)
def one(request: Request, feedback_id: str) -> dict[str, Any]:
    """What was said, by its id."""
    return written(feedback.get(request.app.state.home, feedback_id))


@router.delete("/{feedback_id}", responses=ERRORS)
def remove(request: Request, feedback_id: str) -> dict[str, Any]:
    """Take it back: it is not learnt from any more."""
    feedback.remove(request.app.state.home, feedback_id)
    return {"id": feedback_id, "object": "feedback.deleted", "deleted": True}


def written(row: Feedback) -> dict[str, Any]:
    """A row as clients read it."""
    at = int(datetime.fromisoformat(row.created_at).timestamp())
    return {
        "id": row.id, "object": "feedback", "created_at": at, "trace_id": row.trace_id, "kind": row.kind,
        "value": row.value, "rater": row.rater, "comment": row.comment, "review": row.review,
    }  # fmt: skip


def _redacted(item: Any, how: Redaction) -> Any:
    """What a person wrote, without what looks personal or secret, where traces are kept without it."""
    if how == "off" or not isinstance(item, dict):
        return item
    return item | {key: redact(item[key], "patterns") for key in ("value", "comment") if key in item}


def _received(home: Home, items: list[Any]) -> list[Feedback]:
    """Stored, once the traces are there. Raises BadRequest where the feedback is wrong, NotFound where one never is."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return receive(home, items)
        except DataError as error:
            raise BadRequest(str(LuthierError(error.what, mend=error.mend)), error.where or None) from error
        except NotFound:
            if time.monotonic() > end:
                raise
        time.sleep(0.05)
