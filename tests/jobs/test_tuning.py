"""From a request to a job and its recipe, and from a model's name back to a version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import luthier.recipe as recipes
from luthier.errors import NotFound
from luthier.jobs import tuning
from luthier.jobs.tuning import metrics_of, model_name, registry_name
from luthier.serve.refusals import BadRequest
from luthier.store import Home, jobs, uploads
from luthier.store.jobs import Job

ROWS = '{"prompt": "a", "completion": "b"}\n'


def file(home: Home, name: str = "rows.jsonl", text: str = ROWS, purpose: str = "fine-tune") -> str:
    path = home.cache("test") / "upload"
    path.write_text(text)
    return uploads.add(home, path, filename=name, purpose=purpose).id


def ask(home: Home, name: str = "rows.jsonl", model: str = "models/tiny", **settings: Any) -> Job:
    return tuning.ask(home, {"model": model, "training_file": file(home, name), **settings}, ["models/Tiny"])


def recipe(home: Home, job: Job, tested: bool = True, rate: float | None = None) -> recipes.Recipe:
    paths = tuning.lay_out(home, job)
    path = tuning.write_recipe(jobs.job_folder(home, job.id), tuning.recipe_of(job, paths, tested, rate))
    return recipes.load(path).recipe


def test_a_job_remembers_what_its_files_were(home: Home) -> None:
    job = ask(home)
    uploads.remove(home, job.request["training_file"])
    paths = tuning.lay_out(home, job)
    assert (jobs.job_folder(home, job.id) / paths["training_file"]).read_text() == ROWS
    assert job.request["base_model"] == "models/Tiny"


def test_the_recipe_of_a_tested_job(home: Home) -> None:
    found = recipe(home, ask(home, seed=5, suffix="bridges"))
    assert (found.base_model, found.name, found.objective.type, found.adapter.type) == (
        "models/Tiny", "bridges", "sft", "lora",
    )  # fmt: skip
    assert (found.train.seed, found.train.num_epochs, found.train.learning_rate) == (5, "auto", "auto")
    assert (found.ship.require, found.ship.alias) == ("better", None)
    assert (found.splits.test, found.splits.validation) == (0.15, 0.1)


def test_few_rows_are_all_learnt(home: Home) -> None:
    found = recipe(home, ask(home), tested=False)
    assert (found.splits.test, found.splits.validation, found.ship.require) == (0, 0, "nothing")


def test_numbers_take_the_place_of_auto(home: Home) -> None:
    given = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 0.5}
    found = recipe(home, ask(home, hyperparameters=given), rate=3e-4)
    assert (found.train.num_epochs, found.train.batch_size, found.train.learning_rate) == (2, 4, 3e-4)


def test_preferences(home: Home) -> None:
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.3, "n_epochs": 1}}}
    found = recipe(home, ask(home, method=method))
    assert (found.objective.type, found.objective.beta, found.train.num_epochs) == ("dpo", 0.3, 1)
    plain = recipe(home, ask(home, method={"type": "dpo"}))
    assert (plain.objective.type, plain.objective.beta) == ("dpo", 0.1)


def test_a_validation_file_is_the_validation_split_and_the_test_is_cut(home: Home) -> None:
    found = recipe(home, ask(home, validation_file=file(home, "check.jsonl")))
    assert [(Path(entry.path).name, entry.split) for entry in found.data] == [
        ("rows.jsonl", "train"), ("check.jsonl", "validation"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("filename", "laid"),
    [("rows.jsonl", "rows.jsonl"), ("my rows (2).csv", "my-rows-2-.csv"), ("rows", "rows.jsonl"),
     ("rows.md", "rows.md.jsonl"), ("größer.jsonl", "gr-er.jsonl"), ("..", "data.jsonl"), ("-.jsonl", "jsonl.jsonl")],
)  # fmt: skip
def test_files_get_names_that_readers_know(home: Home, filename: str, laid: str) -> None:
    assert tuning.lay_out(home, ask(home, filename))["training_file"] == f"training/{laid}"


@pytest.mark.parametrize(
    ("suffix", "filename", "name"),
    [("Bridges", "rows.jsonl", "Bridges"), (None, "my rows.v2.jsonl", "my-rows"), ("größer!", "rows.jsonl", "gr-er"),
     ("!!", "rows.jsonl", "rows"), (None, "音.jsonl", "model")],
)  # fmt: skip
def test_the_registry_name_comes_from_the_suffix_or_the_file(
    home: Home, suffix: str | None, filename: str, name: str
) -> None:
    assert registry_name(ask(home, filename, suffix=suffix)) == name


def test_the_name_that_clients_use(home: Home) -> None:
    job, plain = ask(home, suffix="my bridges"), ask(home)
    assert model_name(job) == f"ft:Tiny:luthier:my-bridges:{job.id[-8:]}"
    assert model_name(plain) == f"ft:Tiny:luthier::{plain.id[-8:]}"


def test_a_model_is_there_once_its_job_succeeded(home: Home) -> None:
    job = ask(home)
    name = model_name(job)
    with pytest.raises(NotFound, match="no job has made"):
        tuning.model_of(home, name)
    for status in ("queued", "running"):
        jobs.move(home, job.id, status)  # type: ignore[arg-type]
    jobs.move(home, job.id, "succeeded", model=name, version="rows@1", result={"best_step": 8})
    assert tuning.model_of(home, name) == tuning.model_of(home, f"{name}:ckpt-step-8") == "rows@1"
    with pytest.raises(BadRequest, match="no model is called 'ft:nosuch'") as caught:
        ask(home, model="ft:nosuch")
    assert caught.value.code == "model_not_found"


def test_metrics_that_are_no_numbers_are_left_out() -> None:
    found = metrics_of({"loss": float("nan"), "validation_nll": 2.0})
    assert (found["train_loss"], found["full_valid_loss"]) == (None, 2.0)
    assert metrics_of({"validation_loss": 0.7})["valid_loss"] == 0.7
