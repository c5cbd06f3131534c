"""Jobs: the state machine, claims, what people ask of them, events, pages."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from luthier.errors import NotFound
from luthier.store import Home, job_events, jobs
from luthier.store.jobs import NEXT, Job, Note, WrongState

PATHS = {  # how a new job gets into each status
    "validating_files": (),
    "queued": ("queued",),
    "running": ("queued", "running"),
    "paused": ("queued", "paused"),
    "cancelling": ("queued", "running", "cancelling"),
    "cancelled": ("cancelled",),
    "succeeded": ("queued", "running", "succeeded"),
    "failed": ("failed",),
}


def make(home: Home, **request) -> Job:
    asked = {"metadata": None, **request}
    return jobs.create(home, kind="fine_tune", prefix="ftjob", status="validating_files", request=asked,
                       note=Note("created"))  # fmt: skip


def lead(home: Home, status: str, **request) -> Job:
    job = make(home, **request)
    for step in PATHS[status]:
        job = jobs.move(home, job.id, step)  # type: ignore[arg-type]
    return job


def told(home: Home, job: Job) -> list[str]:
    return [event.message for event in job_events.list_page(home, job.id, limit=100)[0]]


def test_a_new_job_waits_and_says_so(home: Home) -> None:
    job = make(home, model="tiny")
    assert jobs.get(home, job.id) == job
    assert job.id.startswith("ftjob-")
    assert (job.status, job.finished_at, job.request["model"]) == ("validating_files", None, "tiny")
    assert told(home, job) == ["created"]
    with pytest.raises(NotFound, match="ftjob-nosuch"):
        jobs.get(home, "ftjob-nosuch")


@pytest.mark.parametrize("status", NEXT)
def test_only_the_steps_of_the_state_machine_are_taken(home: Home, status: str) -> None:
    for other in NEXT:
        job = lead(home, status)
        if other in NEXT[status] or (other == status and NEXT[status]):
            moved = jobs.move(home, job.id, other, Note("moved"))
            assert moved.status == other
            assert (moved.finished_at is not None) == (not NEXT[other])
            assert told(home, job)[0] == "moved"
        else:
            with pytest.raises(WrongState, match=f"a job that is {status} cannot become {other}"):
                jobs.move(home, job.id, other, Note("moved"))
            assert told(home, job) == ["created"]


@pytest.mark.parametrize("status", NEXT)
def test_cancelling(home: Home, status: str) -> None:
    job = lead(home, status)
    expected = {"running": "cancelling", "cancelling": "cancelling"}.get(status, "cancelled")
    if NEXT[status]:
        assert jobs.cancel(home, job.id).status == expected
        return
    with pytest.raises(WrongState, match=f"the job is {status}"):
        jobs.cancel(home, job.id)


def test_pausing_holds_a_waiting_job_and_asks_a_running_one(home: Home) -> None:
    waiting, running = lead(home, "queued"), lead(home, "running")
    assert jobs.pause(home, waiting.id).status == "paused"
    asked = jobs.pause(home, jobs.pause(home, running.id).id)
    assert (asked.status, asked.control) == ("running", "pause")
    assert told(home, running) == ["The job is being paused", "created"]
    assert jobs.resume(home, waiting.id).status == "queued"
    assert jobs.resume(home, running.id).control is None
    for verb in (jobs.resume, jobs.pause):
        with pytest.raises(WrongState):
            verb(home, lead(home, "succeeded").id)
    with pytest.raises(WrongState, match="not paused"):
        jobs.resume(home, waiting.id)


def test_claims_come_in_order_and_skip_what_is_held(home: Home) -> None:
    first, second, left = lead(home, "queued"), lead(home, "queued"), lead(home, "running")
    statuses = ("running", "queued")
    become = {"queued": "running"}
    claimed = jobs.claim(home, "fine_tune", statuses, lambda job_id: job_id != left.id, become)
    assert claimed is not None
    assert (claimed.id, claimed.status) == (first.id, "running")
    adopted = jobs.claim(home, "fine_tune", statuses, lambda job_id: job_id == left.id, become)
    assert adopted is not None
    assert adopted.id == left.id
    assert jobs.claim(home, "cycle", statuses, lambda job_id: True, become) is None
    assert jobs.get(home, second.id).status == "queued"


def test_two_who_claim_at_once_get_different_jobs(home: Home) -> None:
    made = {lead(home, "queued").id for _ in range(8)}

    def claim(_: int) -> str:
        job = jobs.claim(home, "fine_tune", ["queued"], lambda job_id: True, {"queued": "running"})
        assert job is not None
        return job.id

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(claim, range(8))) == sorted(made)


def test_jobs_are_listed_by_metadata(home: Home) -> None:
    plain, tagged, other = make(home), make(home, metadata={"team": "a", "n.x": "1"}), make(home, metadata={"team": ""})
    assert jobs.list_page(home, "fine_tune") == ([other, tagged, plain], False)
    assert jobs.list_page(home, "fine_tune", limit=1, after=other.id) == ([tagged], True)
    assert jobs.list_page(home, "fine_tune", metadata={"team": "a"}) == ([tagged], False)
    assert jobs.list_page(home, "fine_tune", metadata={"team": "a", "n.x": "1"}) == ([tagged], False)
    assert jobs.list_page(home, "fine_tune", metadata={"team": "a", "n.x": "2"}) == ([], False)
    assert jobs.list_page(home, "fine_tune", metadata={"team": ""}) == ([other], False)
    assert jobs.list_page(home, "fine_tune", metadata="none") == ([plain], False)


def test_the_metrics_of_a_step_are_told_once(home: Home) -> None:
    job = make(home)
    for step in (1, 2, 2, 1, 3):  # a process was lost after step 2, and another went on from the beginning
        job_events.add_metrics(home, job.id, f"step {step}", {"step": step})
    assert told(home, job) == ["step 3", "step 2", "step 1", "created"]


def test_events_are_paged_newest_first(home: Home) -> None:
    job, other = make(home), make(home)
    for i in range(4):
        job_events.add_message(home, job.id, str(i), "warn")
    page, more = job_events.list_page(home, job.id, limit=2)
    assert ([event.message for event in page], more) == (["3", "2"], True)
    page, more = job_events.list_page(home, job.id, limit=3, after=page[-1].id)
    assert ([event.message for event in page], more) == (["1", "0", "created"], False)
    with pytest.raises(NotFound):
        job_events.list_page(home, other.id, after=page[-1].id)


def test_a_model_is_found_by_the_name_of_its_job_or_of_its_checkpoint(home: Home) -> None:
    job = lead(home, "running")
    name = "ft:tiny:luthier:bridges:12345678"
    assert jobs.version_of(home, name) is None
    jobs.move(home, job.id, "succeeded", model=name, version="bridges@1", result={"best_step": 12})
    assert jobs.version_of(home, name) == "bridges@1"
    assert jobs.version_of(home, f"{name}:ckpt-step-12") == "bridges@1"
    assert jobs.version_of(home, f"{name}:ckpt-step-13") is None
