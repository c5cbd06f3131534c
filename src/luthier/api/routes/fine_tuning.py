"""Fine-tuning jobs: `/v1/fine_tuning/jobs`, as OpenAI's clients create, follow and steer them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool

from luthier.api.limits import read_object
from luthier.api.lists import listed
from luthier.api.reading import ERRORS, JOB
from luthier.api.tuning_objects import checkpoint, described, event
from luthier.jobs import tuning
from luthier.serve.refusals import BadRequest, NotThere
from luthier.store import Home, job_events, jobs
from luthier.store.jobs import Job, WrongState

Limit = Annotated[int, Query(ge=1, le=100)]
EVENT = "ftevent-"
STEERED: dict[str, Callable[[Home, str], Job]] = {
    "cancel": jobs.cancel, "pause": jobs.pause, "resume": jobs.resume,
}  # fmt: skip

router = APIRouter(prefix="/v1", tags=["fine-tuning"], responses=ERRORS)


@router.post("/fine_tuning/jobs", openapi_extra=JOB)
async def create(request: Request) -> dict[str, Any]:
    """A new job, which a server of this home validates and does. One that a client asks for again, because it lost the
    reply, is created once."""
    body, state = await read_object(request), request.app.state

    async def made() -> dict[str, Any]:
        return described(await run_in_threadpool(tuning.ask, state.home, body, state.deck.routes.bases()))

    parts = ("POST /fine_tuning/jobs", request.scope["state"].get("key_id"), await request.body())
    return await state.once(request.headers, parts, made)


@router.get("/fine_tuning/jobs")
def index(request: Request, after: str | None = None, limit: Limit = 20) -> dict[str, Any]:
    """A page of jobs, newest first; `metadata[key]=value` or `metadata=null` say which."""
    home: Home = request.app.state.home
    found, more = jobs.list_page(home, tuning.KIND, after=after, limit=limit, metadata=_metadata(request))
    return listed([described(job) for job in found], more)


def _metadata(request: Request) -> dict[str, str] | Any:
    asked = request.query_params
    if asked.get("metadata") == "null":
        return "none"
    pairs = {key[len("metadata[") : -1]: value for key, value in asked.items()
             if key.startswith("metadata[") and key.endswith("]")}  # fmt: skip
    for key in pairs:
        if '"' in key or "\\" in key:
            raise BadRequest("jobs are not looked up by keys with quotes or backslashes", "metadata")
    return pairs


@router.get("/fine_tuning/jobs/{job_id}")
def retrieve(request: Request, job_id: str) -> dict[str, Any]:
    """A job as it is now."""
    return described(_job(request, job_id))


def _steering(steer: Callable[[Home, str], Job]) -> Callable[..., dict[str, Any]]:
    def steered(request: Request, job_id: str) -> dict[str, Any]:
        _job(request, job_id)
        try:
            return described(steer(request.app.state.home, job_id))
        except WrongState as error:
            raise BadRequest(error.what, code="wrong_state") from None

    return steered


for _verb, _steer in STEERED.items():
    router.post(f"/fine_tuning/jobs/{{job_id}}/{_verb}", name=_verb)(_steering(_steer))


@router.get("/fine_tuning/jobs/{job_id}/events")
def events(request: Request, job_id: str, after: str | None = None, limit: Limit = 20) -> dict[str, Any]:
    """What happened, newest first."""
    number = (after or "").removeprefix(EVENT)
    if after is not None and not number.isdecimal():
        raise BadRequest(f"{after!r} is no event", "after")
    job = _job(request, job_id)
    last = None if after is None else int(number)
    found, more = job_events.list_page(request.app.state.home, job.id, after=last, limit=limit)
    return listed([event(one, EVENT) for one in found], more)


@router.get("/fine_tuning/jobs/{job_id}/checkpoints")
def checkpoints(request: Request, job_id: str, after: str | None = None, limit: Limit = 10) -> dict[str, Any]:
    """The one that is kept, once the job has succeeded: the step whose weights the model has."""
    job = _job(request, job_id)
    kept = [] if after is not None or job.status != "succeeded" else [checkpoint(request.app.state.home, job)]
    return listed(kept, False)


def _job(request: Request, job_id: str) -> Job:
    job = jobs.get(request.app.state.home, job_id)
    if job.kind != tuning.KIND:
        raise NotThere(f"there is no fine-tuning job {job_id!r}")
    return job
