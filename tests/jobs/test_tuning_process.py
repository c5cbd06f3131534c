"""Who works on which job: claims, wishes of people, what a run tells, and how a job ends. Nothing trains."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from typing import Any

import pytest

from luthier.jobs import scheduler, tuning_fit, tuning_process
from luthier.jobs.tuning_fit import Told, end
from luthier.store import Home, job_events, jobs, runs, uploads
from luthier.store.files import Lock, write_json
from luthier.store.jobs import Job, Note, Status

REQUEST = {
    "model": "tiny", "base_model": "tiny", "suffix": None, "metadata": None, "method": "supervised", "seed": 1,
    "files": {"training_file": {"filename": "rows.jsonl", "sha256": "0"}}, "hyperparameters": {},
}  # fmt: skip
DOCUMENT: dict[str, Any] = {
    "best_step": 2, "actual": {"steps": 3, "tokens": 70}, "model": "rows@1", "verdict": "hold", "reasons": ["Worse."],
    "next": [], "run_id": "run-1",
}  # fmt: skip


def make(home: Home, *statuses: Status) -> Job:
    job = jobs.create(home, kind="fine_tune", prefix="ftjob", status="validating_files", request=REQUEST,
                      note=Note("created"))  # fmt: skip
    write_json(jobs.job_folder(home, job.id) / "recipe.yaml", {})
    for status in statuses:
        job = jobs.move(home, job.id, status)
    return job


def with_run(home: Home, *statuses: runs.Status) -> Job:
    job, run = make(home, "queued", "running"), runs.create(home, name="a", recipe={}, recipe_sha256="0", command="")
    for status in statuses:
        runs.set_status(home, run.id, status)
    return jobs.change(home, job.id, run_id=run.id)


def told(home: Home, job: Job) -> list[str]:
    return [event.message for event in job_events.list_page(home, job.id, limit=100)[0]][::-1]


def test_what_was_left_comes_before_what_waits_and_what_is_held_is_skipped(home: Home) -> None:
    waiting, held_by_other, left = (
        make(home, "queued"),
        make(home, "queued", "running"),
        make(home, "queued", "running"),
    )
    with Lock(jobs.lock_path(home, held_by_other.id)):
        for expected in (left, waiting):
            with tuning_process.claimed(home, "cancelling", "running", "queued") as job:
                assert job is not None
                assert (job.id, job.status) == (expected.id, "running")
            jobs.move(home, expected.id, "failed")
        with tuning_process.claimed(home, "cancelling", "running", "queued") as job:
            assert job is None


def test_a_claimed_job_is_held_as_long_as_it_is_worked_on(home: Home) -> None:
    make(home)
    with tuning_process.claimed(home, "validating_files") as job:
        assert job is not None
        with tuning_process.claimed(home, "validating_files") as other:
            assert other is None
    with tuning_process.claimed(home, "validating_files") as job:
        assert job is not None


def test_nothing_is_fitted_while_the_device_is_taken(home: Home) -> None:
    job = make(home, "queued")
    assert scheduler.WANTED["fit"](home)
    with Lock(jobs.device_lock(home)):
        assert not scheduler.WANTED["fit"](home)
        command = [sys.executable, "-m", "luthier.jobs.tuning_process", str(home.root), "fit"]
        subprocess.run(command, stdin=open_stdin(), check=True)
    assert jobs.get(home, job.id).status == "queued"


def open_stdin() -> Any:
    """A stdin that stays open while a process runs."""
    import os

    return os.fdopen(os.pipe()[0])


@pytest.mark.parametrize(
    ("statuses", "validate", "fit"),
    [((), True, False), (("queued",), False, True), (("queued", "running"), False, True),
     (("queued", "paused"), False, False), (("queued", "running", "cancelling"), False, True),
     (("cancelled",), False, False)],
)  # fmt: skip
def test_a_process_is_wanted_where_a_job_waits_for_it(
    home: Home, statuses: tuple[Status, ...], validate: bool, fit: bool
) -> None:
    job = make(home, *statuses)
    wanted = scheduler.WANTED
    assert (wanted["validate"](home), wanted["fit"](home)) == (validate, fit)
    with Lock(jobs.lock_path(home, job.id)):
        assert (wanted["validate"](home), wanted["fit"](home)) == (False, False)


def test_the_wish_to_pause_is_obeyed_and_forgotten(home: Home) -> None:
    job = make(home, "queued", "running")
    jobs.pause(home, job.id)
    tuning_process._obey(home, job.id)
    found = jobs.get(home, job.id)
    assert (found.status, found.control) == ("paused", None)


@pytest.mark.parametrize("statuses", [(), ("running",), ("running", "paused")])
def test_a_cancelled_job_takes_its_run_with_it(home: Home, statuses: tuple[runs.Status, ...]) -> None:
    job = with_run(home, *statuses)
    jobs.cancel(home, job.id)
    tuning_process._obey(home, job.id)
    assert jobs.get(home, job.id).status == "cancelled"
    assert runs.get(home, str(job.run_id)).status == "cancelled"


def test_a_run_that_had_ended_keeps_its_status_when_its_job_is_cancelled(home: Home) -> None:
    job = with_run(home, "running", "succeeded")
    jobs.cancel(home, job.id)
    tuning_process._obey(home, job.id)
    assert runs.get(home, str(job.run_id)).status == "succeeded"


def test_a_bug_ends_the_job_and_is_in_its_log(home: Home) -> None:
    job = make(home, "queued", "running")
    program = (
        "import sys; from pathlib import Path; from luthier.store import Home, jobs\n"
        "from luthier.jobs.tuning_process import _guarded\n"
        "home = Home(Path(sys.argv[1])); _guarded(home, jobs.get(home, sys.argv[2]), lambda home, job: 1 / 0)"
    )
    subprocess.run([sys.executable, "-c", program, str(home.root), job.id], check=True)
    failed = jobs.get(home, job.id)
    assert (failed.status, failed.error and failed.error["code"]) == ("failed", "internal_error")
    assert "ZeroDivisionError" in (jobs.job_folder(home, job.id) / "log").read_text()


def test_what_a_run_tells_becomes_events(home: Home) -> None:
    job = make(home, "queued", "running")
    reporter = Told(home, job.id)
    reporter.event("note", "run run-1", {"run_id": "run-1"})
    reporter.event("stage", "train", {"state": "start", "name": "train"})
    reporter.event("progress", "train", {"stage": "train", "step": 1, "steps": 4, "metrics": {"loss": 2.0}})
    reporter.event("progress", "train", {"stage": "train", "step": 2, "steps": 4,
                                         "metrics": {"loss": math.nan, "validation_nll": 1.5}})  # fmt: skip
    reporter.event("progress", "open", {"stage": "open", "done": 1, "total": 2})
    reporter.event("stage", "train", {"state": "done", "name": "train"})
    reporter.event("warning", "hot", {})
    assert jobs.get(home, job.id).run_id == "run-1"
    assert told(home, job) == ["created", "Training", "Step 1/4: train loss=2.0000", "Step 2/4: full valid loss=1.5000",
                               "hot"]  # fmt: skip
    [step] = [event for event in job_events.list_page(home, job.id)[0] if event.data and event.data["step"] == 2]
    assert step.data == {
        "step": 2, "total_steps": 4, "train_loss": None, "train_mean_token_accuracy": None, "valid_loss": 1.5,
        "valid_mean_token_accuracy": None, "full_valid_loss": 1.5, "full_valid_mean_token_accuracy": None,
    }  # fmt: skip


def test_the_end_of_a_job_is_one_step(home: Home) -> None:
    job = with_run(home)
    runs.log_metrics(home, str(job.run_id), 1, {"loss": 3.0})
    runs.log_metrics(home, str(job.run_id), 2, {"loss": 2.0, "validation_nll": 2.5})
    end(home, job, DOCUMENT)
    done = jobs.get(home, job.id)
    assert (done.status, done.version, done.result["trained_tokens"]) == ("succeeded", "rows@1", 70)
    assert told(home, done)[1:] == [
        "The gate says hold: Worse.", f"New fine-tuned model created: {done.model}",
        "The job has successfully completed",
    ]  # fmt: skip
    file = uploads.get(home, done.result["result_files"][0])
    assert (file.purpose, file.filename) == ("fine-tune-results", "step_metrics.csv")
    assert home.blobs.get(file.sha256).decode().splitlines() == [
        "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy", "1,3.0,,,", "2,2.0,,2.5,",
    ]  # fmt: skip


def test_a_job_whose_run_is_done_is_not_run_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    job = with_run(home, "running")
    runs.finish(home, str(job.run_id), DOCUMENT)
    monkeypatch.setattr(tuning_fit, "run", lambda *given, **more: pytest.fail("it ran again"))
    tuning_fit.fit(home, job)
    assert jobs.get(home, job.id).status == "succeeded"


def test_a_job_waits_until_the_process_of_a_killed_server_has_ended(home: Home) -> None:
    job = with_run(home, "running")
    lock = Lock(runs.lock_path(home, str(job.run_id))).__enter__()
    threading.Timer(
        0.3, lambda: (runs.finish(home, str(job.run_id), DOCUMENT), lock.__exit__(None, None, None))
    ).start()
    tuning_fit.fit(home, job)
    assert jobs.get(home, job.id).status == "succeeded"


def test_a_job_whose_run_failed_fails(home: Home) -> None:
    job = with_run(home, "running", "failed")
    tuning_fit.fit(home, job)
    failed = jobs.get(home, job.id)
    assert (failed.status, failed.error and failed.error["code"]) == ("failed", "training_failed")
