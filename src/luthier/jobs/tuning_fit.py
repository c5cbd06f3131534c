"""Doing a fine-tuning job: an ordinary run of its recipe, which goes on wherever another process has left it."""

from __future__ import annotations

import csv
import hashlib
import tempfile
import time
from pathlib import Path
from typing import Any

from luthier.errors import LuthierError, StoreError, TrainingError
from luthier.jobs.run import run
from luthier.jobs.tuning import RECIPE, metrics_of, model_name
from luthier.jobs.tuning_check import failed
from luthier.store import Home, job_events, jobs, runs, uploads
from luthier.store.clock import now
from luthier.store.files import held
from luthier.store.jobs import Job, Note

LIVES = 3
"""How often the working process of a run is started before the job fails."""
PATIENCE_SECONDS = 60
"""How long the working process of a server that was killed may take to end."""
COLUMNS = {"train_loss": "loss", "train_accuracy": "accuracy", "valid_loss": "validation_nll",
           "valid_mean_token_accuracy": None}  # fmt: skip
"""Column of the result file → metric of the run."""
STAGES = {"prepare": "Preparing the data", "load": "Loading the model", "train": "Training", "register": "Registering"}


class Told:
    """A reporter that turns what a run tells into events of its job."""

    def __init__(self, home: Home, job_id: str) -> None:
        self.home, self.job_id = home, job_id

    def event(self, kind: str, message: str, data: dict[str, Any] | None = None) -> None:
        """Stages as they begin, warnings, steps; and which run it is."""
        data = data or {}
        if "run_id" in data:
            jobs.change(self.home, self.job_id, run_id=data["run_id"])
        if kind == "stage" and data["state"] == "start":
            job_events.add_message(self.home, self.job_id, STAGES.get(message, message.capitalize()))
        elif kind == "warning":
            job_events.add_message(self.home, self.job_id, message, "warn")
        elif kind == "progress" and data["stage"] == "train":
            self._step(data)

    def _step(self, data: dict[str, Any]) -> None:
        found = data["metrics"]
        values = {"step": data["step"], "total_steps": data["steps"], **metrics_of(found)}
        told = ", ".join(f"{name.replace('_', ' ')}={values[name]:.4f}" for name in ("train_loss", "full_valid_loss")
                         if values[name] is not None)  # fmt: skip
        job_events.add_metrics(self.home, self.job_id, f"Step {data['step']}/{data['steps']}: {told}", values)


def fit(home: Home, job: Job) -> None:
    """Do what is left of the job, and end it. Raises KeyboardInterrupt where it is to stop, WrongState where it was
    cancelled at the last moment."""
    if "started_at" not in job.result:
        job = jobs.change(home, job.id, result=job.result | {"started_at": now()})
        job_events.add_message(home, job.id, "Fine-tuning job started")
    else:
        job_events.add_message(home, job.id, "Fine-tuning goes on where it was left")
    try:
        document = _document(home, job)
    except LuthierError as error:
        failed(home, job, "training_failed", error)
        return
    end(home, jobs.get(home, job.id), document)


def _document(home: Home, job: Job) -> dict[str, Any]:
    """The run's document; the run is begun, gone on with, or found to be done."""
    for life in range(LIVES):
        row = runs.get(home, run_id) if (run_id := jobs.get(home, job.id).run_id) else None
        if row is not None:
            _wait_for(home, row.id)
            row = runs.get(home, row.id)
            if row.document is not None:
                return row.document
            if row.status == "failed":
                raise TrainingError("the run failed", row.id, "The log in the job's folder says why")
        try:
            return run(jobs.job_folder(home, job.id) / RECIPE, (), home, Told(home, job.id),
                       only_fit=not job.result["tested"])  # fmt: skip
        except (TrainingError, StoreError) as error:
            if not _lost(home, job.id) or life + 1 == LIVES:
                raise
            job_events.add_message(home, job.id, f"{error.what}; it is started again", "warn")
    raise AssertionError


def _lost(home: Home, job_id: str) -> bool:
    """Whether the run neither ended nor failed: its process has gone, or could not be listened to."""
    run_id = jobs.get(home, job_id).run_id
    return run_id is not None and runs.get(home, run_id).status in runs.UNFINISHED


def _wait_for(home: Home, run_id: str) -> None:
    """Until the process that a killed server has left behind has ended, too."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while held(runs.lock_path(home, run_id)):
        if time.monotonic() > deadline:
            raise StoreError("another process works on the run of this job", run_id)
        time.sleep(0.1)


def end(home: Home, job: Job, document: dict[str, Any]) -> None:
    """Leave the result file, and the model under its name, in one step with the job's success."""
    name, results = model_name(job), _result_file(home, job)
    actual = document["actual"]
    result = job.result | {
        "best_step": document["best_step"] or actual["steps"], "trained_tokens": actual["tokens"],
        "result_files": [results.id], "verdict": document.get("verdict"),
    }  # fmt: skip
    jobs.move(
        home, job.id, "succeeded", *_verdict(document), Note(f"New fine-tuned model created: {name}"),
        Note("The job has successfully completed"), model=name, version=document["model"], result=result,
    )  # fmt: skip


def _verdict(document: dict[str, Any]) -> list[Note]:
    facts = {key: document.get(key) for key in ("verdict", "reasons", "next", "run_id", "model")}
    if "verdict" not in document:
        return [Note("The model was not tested: there were too few rows to hold some out", "warn", facts)]
    level = "info" if document["verdict"] == "ship" else "warn"
    return [Note(f"The gate says {document['verdict']}: {document['reasons'][0]}", level, facts)]


def _result_file(home: Home, job: Job) -> uploads.File:
    """The metrics of each step as CSV, once for a job."""
    by_step: dict[int, dict[str, float]] = {}
    for step, name, value in runs.metrics(home, str(job.run_id)):
        by_step.setdefault(step, {})[name] = value
    file_id = f"file-{hashlib.sha256(job.id.encode()).hexdigest()[:24]}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "step_metrics.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["step", *COLUMNS])
            for step, found in by_step.items():
                writer.writerow([step, *(found.get(metric or "", "") for metric in COLUMNS.values())])
        return uploads.add(home, path, filename=path.name, purpose="fine-tune-results", id=file_id)
