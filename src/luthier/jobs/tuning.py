"""Fine-tuning jobs: from a client's request to a job, and from a job to the recipe that does it.

jobs/<job id>/
    training/<file>, validation/<file>   what the client has uploaded
    recipe.yaml                          what is run
    lock                                 held by the process that works on it
    log                                  what that process wrote to stdout and stderr
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

from luthier.data.sources.files import kind
from luthier.errors import NotFound
from luthier.jobs import tuning_request
from luthier.recipe.document import dump
from luthier.registry import versions
from luthier.serve.refusals import BadRequest
from luthier.store import Home, jobs, uploads
from luthier.store.files import write_atomic
from luthier.store.jobs import Job, Note

KIND = "fine_tune"
ORGANISATION = "luthier"
RECIPE = "recipe.yaml"
PARTS = {"training_file": "training", "validation_file": "validation"}
CUT_FROM = 20
"""Different rows of training data from which some are held out, to test the model on."""
TEST_SHARE, VALIDATION_SHARE = 0.15, 0.1
SLUG = re.compile(r"[^A-Za-z0-9._-]+")
SEEDS = 2**31


def ask(home: Home, body: Mapping[str, Any], bases: Iterable[str]) -> Job:
    """A new job, to be validated, that starts from one of `bases`.

    Raises BadRequest where the request is wrong, or names a file or a model that is not there.
    """
    request = tuning_request.read(body)
    request["base_model"] = _base_model(home, request["model"], bases)
    request["files"] = {part: _file(home, request[part], part) for part in PARTS if request[part] is not None}
    request["seed"] = secrets.randbelow(SEEDS) if request["seed"] is None else request["seed"]
    return jobs.create(
        home, kind=KIND, prefix="ftjob", status="validating_files", request=request,
        note=Note("The job was created; its files are being validated"),
    )  # fmt: skip


def _base_model(home: Home, model: str, bases: Iterable[str]) -> str:
    known = {name.lower(): name for name in bases}
    if model.lower() in known:
        return known[model.lower()]
    try:
        base = versions.get(home, jobs.version_of(home, model) or model).base["name"]
    except NotFound:
        listed = ", ".join(sorted(known.values()))
        raise BadRequest(f"no model is called {model!r}; there are {listed}", "model", "model_not_found") from None
    raise BadRequest(f"{model} was tuned from {base}, and training does not go on from a tuned model: name {base}, and "
                     "give the rows of both", "model", "model_not_supported")  # fmt: skip


def _file(home: Home, file_id: str, param: str) -> dict[str, str]:
    try:
        file = uploads.get(home, file_id)
    except NotFound:
        raise BadRequest(f"there is no file {file_id!r}", param, "invalid_file") from None
    if file.purpose != "fine-tune":
        raise BadRequest(f"{file_id} was uploaded with the purpose {file.purpose!r}, not 'fine-tune'", param,
                         "invalid_file")  # fmt: skip
    return {"filename": file.filename, "sha256": file.sha256}


def lay_out(home: Home, job: Job) -> dict[str, str]:
    """Put the uploaded files into the job's folder; part → path inside it."""
    folder, paths = jobs.job_folder(home, job.id), {}
    for part, file in job.request["files"].items():
        paths[part] = f"{PARTS[part]}/{_readable(file['filename'])}"
        if not (folder / paths[part]).exists():
            home.blobs.get_file(file["sha256"], folder / paths[part])
    return paths


def _readable(filename: str) -> str:
    """A name whose end says how the file is read: as JSON Lines, unless it says so itself."""
    name = SLUG.sub("-", filename).lstrip(".-") or "data"
    return name if kind(Path(name)) else f"{name}.jsonl"


def recipe_of(job: Job, paths: Mapping[str, str], tested: bool, learning_rate: float | None = None) -> dict[str, Any]:
    """The recipe as plain values. Where it is not `tested`, all rows of the training file are learnt."""
    settings = {key: value for key, value in job.request["hyperparameters"].items() if value != "auto"}
    objective: dict[str, Any] = {"type": "dpo" if job.request["method"] == "dpo" else "sft"}
    renamed = {"n_epochs": "num_epochs", "batch_size": "batch_size"}
    train = {renamed[key]: value for key, value in settings.items() if key in renamed} | {"seed": job.request["seed"]}
    if learning_rate is not None:
        train["learning_rate"] = learning_rate
    data = [{"path": paths["training_file"]}]
    if "validation_file" in paths:
        data.append({"path": paths["validation_file"], "split": "validation"})
    return {
        "base_model": job.request["base_model"], "name": registry_name(job), "data": data,
        "objective": objective | ({"beta": settings["beta"]} if "beta" in settings else {}),
        "splits": {"test": TEST_SHARE if tested else 0.0, "validation": VALIDATION_SHARE if tested else 0.0},
        "train": train, "ship": {"require": "better" if tested else "nothing", "alias": None},
    }  # fmt: skip


def write_recipe(folder: Path, plain: Mapping[str, Any]) -> Path:
    """Leave the recipe in the job's folder."""
    write_atomic(folder / RECIPE, dump(plain))
    return folder / RECIPE


def is_here(home: Home, job_id: str) -> bool:
    """Whether the job was validated in this folder, and not by another machine that shares the database."""
    return (jobs.job_folder(home, job_id) / RECIPE).exists()


def registry_name(job: Job) -> str:
    """What the registry calls the model: the suffix, else the training file's name."""
    stem = PurePath(job.request["files"]["training_file"]["filename"]).name.partition(".")[0]
    words = (job.request["suffix"] or "", stem, "model")
    return next(name for word in words if (name := SLUG.sub("-", word).strip("-._")))[:100]


def model_name(job: Job) -> str:
    """What clients call the model that the job makes: `ft:<base>:<organisation>:<suffix>:<id>`."""
    base = SLUG.sub("-", PurePath(job.request["base_model"]).name).strip("-")
    suffix = SLUG.sub("-", job.request["suffix"] or "").strip("-")
    return f"ft:{base}:{ORGANISATION}:{suffix}:{job.id[-8:]}"


def model_of(home: Home, name: str) -> str:
    """`name@3` for the model of a job, `ft:…`, or for its checkpoint. Raises NotFound."""
    ref = jobs.version_of(home, name)
    if ref is None:
        raise NotFound(
            f"no job has made a model {name!r}", mend="A job's `fine_tuned_model` is there once it succeeded"
        )
    return ref


def metrics_of(found: Mapping[str, float]) -> dict[str, float | None]:
    """A step's metrics as OpenAI's clients call them; the loss of validation is always that of the whole split."""
    known = {name: value for name, value in found.items() if math.isfinite(value)}
    valid = known.get("validation_nll", known.get("validation_loss"))
    return {
        "train_loss": known.get("loss"), "train_mean_token_accuracy": None, "valid_loss": valid,
        "valid_mean_token_accuracy": None, "full_valid_loss": valid, "full_valid_mean_token_accuracy": None,
    }  # fmt: skip
