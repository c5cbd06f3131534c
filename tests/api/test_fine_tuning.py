"""Fine-tuning jobs, over a port of this machine, through an unmodified and strict OpenAI client; nothing trains."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from gateway import Service

from luthier.registry import versions
from luthier.store import Home, job_events, jobs, runs

BASE = "models/tiny"
ROWS = b'{"prompt": "a", "completion": "b"}\n'


@pytest.fixture
def client(start: Callable[..., Any], home: Home) -> Iterator[openai.OpenAI]:
    url = start(Service(home, {BASE: Path(), "other": Path()}, {}).state()).url
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0, _strict_response_validation=True) as client:
        yield client


@pytest.fixture
def file(client: openai.OpenAI) -> str:
    return client.files.create(file=("rows.jsonl", ROWS), purpose="fine-tune").id


def ask(client: openai.OpenAI, file: str, **settings: Any) -> Any:
    return client.fine_tuning.jobs.create(**{"model": BASE, "training_file": file, **settings})


def lead(home: Home, job_id: str, *statuses: str) -> None:
    for status in statuses:
        jobs.move(home, job_id, status)  # type: ignore[arg-type]


def finish(home: Home, job_id: str) -> str:
    """As a process leaves a job at its end, with a run of two steps; the model's name."""
    run = runs.create(home, name="rows", recipe={}, recipe_sha256="0", command="")
    runs.log_metrics(home, run.id, 1, {"loss": 3.0})
    runs.log_metrics(home, run.id, 2, {"loss": 2.0, "validation_nll": 2.5})
    lead(home, job_id, "queued", "running")
    result = {"best_step": 2, "trained_tokens": 70, "result_files": ["file-1"], "verdict": "hold",
              "hyperparameters": {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 1.0}}  # fmt: skip
    name = f"ft:tiny:luthier::{job_id[-8:]}"
    jobs.move(home, job_id, "succeeded", run_id=run.id, model=name, version="rows@1", result=result)
    return name


def test_a_new_job_has_all_that_a_strict_client_reads(client: openai.OpenAI, file: str) -> None:
    job = ask(client, file, suffix="bridges", seed=7, metadata={"team": "a"})
    assert (job.status, job.model, job.training_file, job.validation_file) == ("validating_files", BASE, file, None)
    assert (job.seed, job.metadata, job.object, job.result_files) == (7, {"team": "a"}, "fine_tuning.job", [])
    assert (job.fine_tuned_model, job.finished_at, job.error, job.trained_tokens) == (None, None, None, None)
    assert (job.hyperparameters.n_epochs, job.method.type) == ("auto", "supervised")
    assert abs(job.created_at - time.time()) < 5
    assert client.fine_tuning.jobs.retrieve(job.id) == job


def test_a_job_draws_a_seed_where_none_is_given(client: openai.OpenAI, file: str) -> None:
    assert ask(client, file).seed != ask(client, file).seed


@pytest.mark.parametrize("where", ["hyperparameters", "method"])
def test_hyperparameters_in_both_places(client: openai.OpenAI, file: str, where: str) -> None:
    given = {"n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": 0.5}
    method = {"type": "supervised", "supervised": {"hyperparameters": given}}
    job = ask(client, file, **{where: given if where == "hyperparameters" else method})
    assert job.hyperparameters.to_dict() == job.method.supervised.hyperparameters.to_dict() == given


def test_dpo_has_its_own_hyperparameters(client: openai.OpenAI, file: str) -> None:
    job = ask(client, file, method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.3}}})
    assert job.method.dpo.hyperparameters.beta == 0.3
    assert (job.method.supervised, job.hyperparameters.to_dict()) == (None, {})


@pytest.mark.parametrize(
    ("settings", "param"),
    [
        ({"model": "gpt-4o-mini"}, "model"),
        ({"training_file": "file-nosuch"}, "training_file"),
        ({"validation_file": "file-nosuch"}, "validation_file"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"epochs": 3}}, "hyperparameters.epochs"),
        ({"method": {"type": "magic"}}, "method.type"),
        ({"method": {"type": "reinforcement", "reinforcement": {"grader": {}}}}, "method.type"),
        ({"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0}}}}, "method.dpo.hyperparameters.beta"),
        ({"integrations": [{"type": "mlflow", "wandb": {"project": "p"}}]}, "integrations.0.type"),
        ({"extra_body": {"n_epochs": 3}}, "n_epochs"),
    ],
)
def test_a_wrong_request_names_the_field(
    client: openai.OpenAI, home: Home, file: str, settings: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, file, **settings)
    assert caught.value.param == param
    assert jobs.list_page(home, "fine_tune") == ([], False)


def test_a_file_for_another_purpose_is_refused(client: openai.OpenAI) -> None:
    file = client.files.create(file=("rows.jsonl", ROWS), purpose="batch")
    with pytest.raises(openai.BadRequestError, match="purpose 'batch'"):
        ask(client, file.id)


def test_a_tuned_model_is_no_base(client: openai.OpenAI, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Tuned:
        base = {"name": BASE}

    monkeypatch.setattr(versions, "get", lambda home, ref: Tuned)
    with pytest.raises(openai.BadRequestError, match=f"was tuned from {BASE}"):
        ask(client, file, model="rows@1")


def test_a_retried_create_is_one_job(client: openai.OpenAI, home: Home, file: str) -> None:
    first = ask(client, file)
    assert ask(client, file, extra_headers={"x-stainless-retry-count": "1"}).id == first.id
    assert ask(client, file).id != first.id


def test_jobs_are_paged_and_found_by_metadata(client: openai.OpenAI, file: str) -> None:
    made = [ask(client, file, metadata={"n": str(i)} if i else None).id for i in range(5)]
    listed = client.fine_tuning.jobs.list
    assert [job.id for job in listed(limit=2)] == made[::-1]
    assert [job.id for job in listed(metadata={"n": "3"})] == [made[3]]
    assert [job.id for job in listed(extra_query={"metadata": "null"})] == [made[0]]
    with pytest.raises(openai.NotFoundError):
        listed(after="ftjob-nosuch")


def test_a_job_that_waits_is_cancelled_at_once_and_only_once(client: openai.OpenAI, file: str) -> None:
    job = ask(client, file)
    cancelled = client.fine_tuning.jobs.cancel(job.id)
    assert cancelled.status == "cancelled"
    assert cancelled.finished_at is not None
    with pytest.raises(openai.BadRequestError, match="is cancelled and cannot be cancelled") as caught:
        client.fine_tuning.jobs.cancel(job.id)
    assert caught.value.code == "wrong_state"


def test_a_running_job_is_asked_to_end(client: openai.OpenAI, home: Home, file: str) -> None:
    job = ask(client, file)
    lead(home, job.id, "queued", "running")
    cancelled = client.fine_tuning.jobs.cancel(job.id)
    assert (cancelled.status, cancelled.luthier_state, cancelled.finished_at) == ("cancelled", "cancelling", None)


def test_a_paused_job_says_so_without_a_word_that_clients_do_not_know(
    client: openai.OpenAI, home: Home, file: str
) -> None:
    job = ask(client, file, metadata={"team": "a"})
    with pytest.raises(openai.BadRequestError, match="cannot be paused"):
        client.fine_tuning.jobs.pause(job.id)
    lead(home, job.id, "queued")
    paused = client.fine_tuning.jobs.pause(job.id)
    assert (paused.status, paused.metadata) == ("queued", {"team": "a", "luthier_state": "paused"})
    resumed = client.fine_tuning.jobs.resume(job.id)
    assert (resumed.status, resumed.metadata) == ("queued", {"team": "a"})
    assert client.fine_tuning.jobs.list_events(job.id).data[1].message == "The job is paused"


def test_an_unknown_job_is_not_there(client: openai.OpenAI) -> None:
    jobs_of = client.fine_tuning.jobs
    for call in (jobs_of.retrieve, jobs_of.cancel, jobs_of.pause, jobs_of.resume, jobs_of.list_events,
                 jobs_of.checkpoints.list):  # fmt: skip
        with pytest.raises(openai.NotFoundError, match="ftjob-nosuch"):
            call("ftjob-nosuch")


def test_events_come_newest_first_in_pages(client: openai.OpenAI, home: Home, file: str) -> None:
    job = ask(client, file)
    for step in (1, 2, 3):
        job_events.add_metrics(home, job.id, f"Step {step}", {"step": step, "train_loss": 1 / step})
    found = list(client.fine_tuning.jobs.list_events(job.id, limit=2))
    assert [event.message for event in found[:3]] == ["Step 3", "Step 2", "Step 1"]
    assert (found[0].type, found[0].level, found[0].data) == ("metrics", "info", {"step": 3, "train_loss": 1 / 3})
    assert (len(found), found[3].type) == (4, "message")
    with pytest.raises(openai.BadRequestError):
        client.fine_tuning.jobs.list_events(job.id, after="one")


def test_a_finished_job_names_its_model_and_its_checkpoint(client: openai.OpenAI, home: Home, file: str) -> None:
    job = ask(client, file)
    assert client.fine_tuning.jobs.checkpoints.list(job.id).data == []
    name = finish(home, job.id)
    done = client.fine_tuning.jobs.retrieve(job.id)
    assert (done.status, done.fine_tuned_model, done.trained_tokens) == ("succeeded", name, 70)
    assert (done.result_files, done.hyperparameters.batch_size, done.luthier_verdict) == (["file-1"], 4, "hold")
    [kept] = client.fine_tuning.jobs.checkpoints.list(job.id)
    assert (kept.step_number, kept.fine_tuning_job_id) == (2, job.id)
    assert kept.fine_tuned_model_checkpoint == f"{name}:ckpt-step-2"
    assert (kept.metrics.train_loss, kept.metrics.full_valid_loss, kept.metrics.step) == (2.0, 2.5, 2)


def test_a_failed_job_says_why(client: openai.OpenAI, home: Home, file: str) -> None:
    job = ask(client, file)
    cause = {"code": "invalid_training_file", "message": "rows.jsonl:7: …", "param": "training_file"}
    jobs.move(home, job.id, "failed", error=cause)
    assert client.fine_tuning.jobs.retrieve(job.id).error.to_dict() == cause  # type: ignore[union-attr]


def test_the_same_calls_with_an_async_client(client: openai.OpenAI, file: str) -> None:
    import asyncio

    async def call() -> list[str]:
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key="any") as other:
            job = await other.fine_tuning.jobs.create(model=BASE, training_file=file)
            return [found.id async for found in other.fine_tuning.jobs.list() if found.id == job.id]

    assert len(asyncio.run(call())) == 1
