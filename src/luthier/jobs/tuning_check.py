"""Validating a fine-tuning job: all that can be found wrong without training, and what each `auto` becomes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from luthier.data.sources.source import read
from luthier.errors import DataError, LuthierError, ModelError
from luthier.jobs.prepare import Ready, get_ready
from luthier.jobs.tuning import CUT_FROM, lay_out, recipe_of, write_recipe
from luthier.recipe.types import DataEntry
from luthier.store import Home, jobs
from luthier.store.jobs import Job, Note


def validate(home: Home, job: Job) -> None:
    """Leave the recipe in the job's folder and the job `queued`, or `failed` with the row and the reason.

    Raises WrongState where the job was cancelled meanwhile.
    """
    try:
        paths = lay_out(home, job)
    except LuthierError as error:
        failed(home, job, "file_unavailable", error)
        return
    try:
        result = _resolved(home, job, paths)
    except LuthierError as error:
        failed(home, job, *_cause(error, paths))
        return
    asked = [Note("No metrics are sent to Weights & Biases: this server sends nothing away", "warn")]
    jobs.move(
        home, job.id, "queued", *asked * bool(job.request["integrations"]),
        Note("Files validated, moving job to queued state", data=result), result=job.result | result,
    )  # fmt: skip


def failed(home: Home, job: Job, code: str, error: LuthierError, param: str | None = None) -> None:
    """End the job; its client reads the error without the places of this machine."""
    message = str(error).replace(f"{jobs.job_folder(home, job.id)}/", "")
    cause = {"code": code, "message": message, "param": param}
    jobs.move(home, job.id, "failed", Note(message, "error"), error=cause)


def _resolved(home: Home, job: Job, paths: Mapping[str, str]) -> dict[str, Any]:
    folder = jobs.job_folder(home, job.id)
    tested = _can_be_tested(folder, paths["training_file"])
    ready = get_ready(write_recipe(folder, recipe_of(job, paths, tested)), (), home, lambda text: None)
    multiplier = job.request["hyperparameters"]["learning_rate_multiplier"]
    if multiplier != "auto":
        rate = float(ready.recipe.train.learning_rate) * multiplier
        write_recipe(folder, recipe_of(job, paths, tested, rate))
    return {
        "hyperparameters": _hyperparameters(ready, job, 1.0 if multiplier == "auto" else multiplier),
        "tested": tested, "steps": ready.forecast.steps, "forecast_seconds": ready.forecast.job_seconds,
        "rows": {name: len(rows) for name, rows in ready.data.splits.items()}, "notes": list(ready.data.notes),
    }  # fmt: skip


def _hyperparameters(ready: Ready, job: Job, multiplier: float) -> dict[str, Any]:
    train, beta = ready.recipe.train, ready.recipe.objective.beta
    found = {
        "n_epochs": max(1, round(float(train.num_epochs))), "batch_size": train.batch_size,
        "learning_rate_multiplier": multiplier,
    }  # fmt: skip
    return found | ({"beta": beta} if job.request["method"] == "dpo" else {})


def _can_be_tested(folder: Path, training: str) -> bool:
    """Whether there are so many rows, with questions of their own, that some can be held out."""
    return len({row.input_id for row in read(DataEntry(path=training), folder).examples}) >= CUT_FROM


def _cause(error: LuthierError, paths: Mapping[str, str]) -> tuple[str, LuthierError, str | None]:
    if isinstance(error, ModelError):
        return "invalid_model", error, "model"
    if not isinstance(error, DataError):
        return "invalid_request", error, None
    training, validation = (PurePath(paths.get(part, "")).name for part in ("training_file", "validation_file"))
    place = error.where.removeprefix("training/")
    of_validation = place.startswith("validation/") or (validation != training and place.startswith(validation or "\0"))
    part = "validation_file" if of_validation else "training_file"
    return f"invalid_{part}", error, part
