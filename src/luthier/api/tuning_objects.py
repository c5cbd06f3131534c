"""Jobs, events and checkpoints as the strict types of OpenAI's clients read them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from luthier.jobs.tuning import ORGANISATION, metrics_of
from luthier.store import Home, runs
from luthier.store.clock import unix
from luthier.store.job_events import JobEvent
from luthier.store.jobs import CHECKPOINT, Job

STATUSES = {"paused": "queued", "cancelling": "cancelled"}
"""What a client's types have no word for, and what it is told; `luthier_state` has the truth."""


def described(job: Job) -> dict[str, Any]:
    """A job."""
    asked, result = job.request, job.result
    settings = result.get("hyperparameters", asked["hyperparameters"])
    method = asked["method"]
    return {
        "id": job.id, "object": "fine_tuning.job", "created_at": unix(job.created_at),
        "status": STATUSES.get(job.status, job.status), "luthier_state": job.status,
        "model": asked["model"], "fine_tuned_model": job.model, "organization_id": f"org-{ORGANISATION}",
        "training_file": asked["training_file"], "validation_file": asked["validation_file"],
        "result_files": result.get("result_files", []), "trained_tokens": result.get("trained_tokens"),
        "hyperparameters": settings if method == "supervised" else {},
        "method": {"type": method, method: {"hyperparameters": settings}},
        "seed": asked["seed"], "suffix": asked["suffix"], "integrations": asked["integrations"],
        "metadata": _metadata(job), "error": job.error, "estimated_finish": _estimated_finish(job),
        "finished_at": job.finished_at and unix(job.finished_at),
        "luthier_model": job.version, "luthier_run": job.run_id, "luthier_verdict": result.get("verdict"),
    }  # fmt: skip


def _metadata(job: Job) -> dict[str, str] | None:
    """The client's own; of a paused job also that it is, since no status says so."""
    own: dict[str, str] | None = job.request["metadata"]
    return {**(own or {}), "luthier_state": "paused"} if job.status == "paused" else own


def _estimated_finish(job: Job) -> int | None:
    """From the time at which it began and the forecast, while it is done."""
    begun, seconds = job.result.get("started_at"), job.result.get("forecast_seconds")
    if job.status != "running" or begun is None or seconds is None:
        return None
    return int(datetime.fromisoformat(begun).timestamp() + seconds)


def event(one: JobEvent, prefix: str) -> dict[str, Any]:
    """An event of a job."""
    return {
        "id": f"{prefix}{one.id}", "object": "fine_tuning.job.event", "created_at": unix(one.at), "level": one.level,
        "type": one.type, "message": one.message, "data": one.data,
    }  # fmt: skip


def checkpoint(home: Home, job: Job) -> dict[str, Any]:
    """The checkpoint that the model of a job consists of."""
    step = int(job.result["best_step"])
    found = {name: value for at, name, value in runs.metrics(home, str(job.run_id)) if at == step}
    return {
        "id": f"ftckpt_{job.id.removeprefix('ftjob-')}", "object": "fine_tuning.job.checkpoint",
        "created_at": unix(job.finished_at or job.updated_at), "fine_tuning_job_id": job.id, "step_number": step,
        "fine_tuned_model_checkpoint": f"{job.model}{CHECKPOINT}{step}",
        "metrics": {"step": step} | metrics_of(found),
    }  # fmt: skip
