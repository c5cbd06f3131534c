"""The version that is in service, as a rival: the one that the recipe's alias pointed at when the run was planned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from luthier.data.example import Example
from luthier.data.prepared import Task
from luthier.errors import NotFound, RecipeError
from luthier.evaluate.classic import NotApplicable
from luthier.jobs.second import second
from luthier.jobs.workbench import Work
from luthier.jobs.workspace import RunPlan, read_plan
from luthier.models.locate import locate
from luthier.recipe import PAIRED, Recipe
from luthier.registry import versions
from luthier.store import Home, runs
from luthier.store.models import ModelVersion

IN_SERVICE = "in_service"
KEY = "evaluate.baselines"


def standing(home: Home, recipe: Recipe, base_sha256: str) -> str | None:
    """The version that a run of the resolved recipe is compared with, as `name@3`; None where there is none, or none is
    asked for.

    Raises RecipeError where the two answer in different ways.
    """
    found = current(home, recipe) if IN_SERVICE in recipe.evaluate.baselines else None
    if found is None:
        return None
    other = Recipe.model_validate(runs.get(home, found.run_id).recipe)
    mend = f"Leave `{IN_SERVICE}` out, or give the model another name or alias"
    if task_of(other) != task_of(recipe):
        own, theirs = recipe.objective.type, other.objective.type
        what = f"{found.ref}, which is in service, was trained with `{theirs}`, whose answers are not those of `{own}`"
        raise RecipeError(what, KEY, mend)
    if "nll" in recipe.evaluate.metrics and found.base["sha256"] != base_sha256:
        what = f"{found.ref}, which is in service, has another base model, whose tokens cannot be compared by nll"
        raise RecipeError(what, KEY, mend)
    return found.ref


def task_of(recipe: Recipe) -> Task:
    """What the recipe's objective learns from."""
    if recipe.objective.type in PAIRED:
        return "preference"
    return {"classify": "classify", "pretrain": "text"}.get(recipe.objective.type, "generate")  # type: ignore[return-value]


def current(home: Home, recipe: Recipe) -> ModelVersion | None:
    """The version that the recipe's alias points at."""
    if recipe.ship.alias is None:
        return None
    try:
        return versions.get(home, f"{recipe.name}@{recipe.ship.alias}")
    except NotFound:
        return None


def in_service(work: Work) -> Work | NotApplicable:
    """The run of the version in service, with the questions of this one: its `tuned` answers them."""
    if work.plan.in_service is None:
        return NotApplicable("no version of this model is in service")
    plan, folder = registered(work.home, versions.get(work.home, work.plan.in_service))
    recipe = plan.settings.model_copy(update={"evaluate": work.recipe.evaluate, "machine": work.recipe.machine})
    files = locate(recipe.base_model, work.home.cache("models"), work.stages.note, recipe.number_format)
    served = Work(work.home, plan, recipe, folder, files, work.rows, {}, work.stages)
    return second(served) if recipe.objective.beside and work.recipe.objective.type != recipe.objective.type else served


def outdated(name: str, alias: str, before: str | None) -> dict[str, Any]:
    """The verdict on a run that passed the gate against a version that is not in service any more."""
    against = before or "nothing"
    return {
        "verdict": "hold",
        "reasons": [f"`{name}@{alias}` was moved while this run was under way; it was compared with {against}."],
        "next": ["Run it again: it is then compared with what is in service now."],
    }  # fmt: skip


def askable(served: Work, tests: Sequence[Example]) -> list[Example]:
    """Test rows without labels that the version in service has never seen: their answer is looked up nowhere."""
    known = served.plan.labels
    if served.recipe.objective.type != "classify":
        return list(tests)
    return [
        replace(row, label=None if row.label is None else known[0], labels=None if row.labels is None else ())
        for row in tests
    ]


def registered(home: Home, version: ModelVersion) -> tuple[RunPlan, Path]:
    """The plan by which a version was trained, and a folder that holds its `adapter/`.

    Raises StoreError where the folder of its run is gone.
    """
    target = home.cache("versions") / version.adapter_sha256
    if not (target / "adapter").exists():
        home.blobs.get_tree(version.adapter_sha256, target / "adapter")
    return read_plan(runs.run_folder(home, version.run_id)), target
