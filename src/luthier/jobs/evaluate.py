"""`luthier evaluate`: a model, tuned or not, on rows that have answers."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import luthier.recipe as recipes
from luthier.data import version
from luthier.data.pipeline import prepare
from luthier.data.prepared import Prepared, Task
from luthier.data.sources import read
from luthier.engine.budget import forecast
from luthier.errors import DataError, ModelError
from luthier.evaluate.classic import NotApplicable
from luthier.evaluate.scorers import score
from luthier.evaluate.scores import Scores
from luthier.jobs.in_service import registered
from luthier.jobs.judge import answers_of, test_rows, values
from luthier.jobs.machine import machine_facts
from luthier.jobs.prepare import data_facts, model_facts, renderer_of
from luthier.jobs.reporting import Reporter, Stages
from luthier.jobs.rows import render_split, rendering_of
from luthier.jobs.run import task_of
from luthier.jobs.second import PREFIX, is_tested, second
from luthier.jobs.workbench import Work
from luthier.jobs.workspace import RunPlan, read_plan
from luthier.models.locate import locate
from luthier.recipe import BESIDE, PAIRED, DataEntry, Facts, Objective, Recipe
from luthier.registry import versions
from luthier.store import Home

RECIPES = {".yaml", ".yml"}


def evaluate(model: str, data: Path, home: Home, reporter: Reporter) -> dict[str, Any]:
    """Scores with intervals. `model` is a registered version, a run's adapter folder, or a base model; `data` a file
    of rows with answers, or a recipe whose test split is used. Nothing is registered.

    Raises LuthierError where the model or the rows cannot be had, or do not fit each other.
    """
    stages, start = Stages(reporter), time.perf_counter()
    with stages.stage("prepare"):
        work, is_tuned = opened(model, data, home, stages)
    found = {PREFIX if own is not work else "": _scored(own, model, is_tuned, stages) for own in _views(work)}
    level = work.recipe.evaluate.confidence
    return {"model": model, "data": str(data), "rows": sum(len(scores.samples) for scores in found.values()),
            "confidence": level, "notes": [note for scores in found.values() for note in scores.notes],
            "scores": {prefix + metric: estimate for prefix, scores in found.items()
                       for metric, estimate in values(scores, scores.metrics, level).items()},
            "seconds": time.perf_counter() - start,
            "samples": [asdict(sample) for scores in found.values() for sample in scores.samples]}  # fmt: skip


def opened(model: str, data: Path | None, home: Home, stages: Stages) -> tuple[Work, bool]:
    """A model beside the rows that it shall answer, by default those that its version was tested on; and whether it
    was tuned."""
    plan, folder = _tuned(model, home) or (None, Path())
    rows = _own_rows(model, plan, home) if data is None else _rows(data, home)
    where = str(data or model)
    asked = Recipe(base_model=model, data=(DataEntry(path=where),), objective=_objective(rows))
    if plan is not None and (rows.task == "preference") != (plan.settings.objective.type in PAIRED):
        raise DataError(f"the rows are of another kind than those of the model's `{plan.settings.objective.type}`",
                        where, "Give rows as it was trained on")  # fmt: skip
    return _work(home, plan, asked, folder, _by_objective(rows, plan), stages), plan is not None


def _own_rows(model: str, plan: RunPlan | None, home: Home) -> Prepared:
    if plan is None:
        raise DataError("a base model was tested on no rows of its own", model, "Give a data file or a recipe")
    names = ["test", BESIDE["test"]] if plan.settings.objective.beside else ["test"]
    splits = {name: version.read(home, plan.dataset_version, name) for name in names}
    task: Task = "preference" if plan.settings.objective.type in PAIRED else "generate"
    return Prepared(splits, [], [], [], [], task, tuple(plan.labels), plan.multi_label)


def _views(work: Work) -> list[Work]:
    """The run as each objective that has test rows sees it."""
    return [work] * bool(work.rows.get("test")) + [second(work)] * is_tested(work)


def _scored(work: Work, model: str, is_tuned: bool, stages: Stages) -> Scores:
    tests = test_rows(work)
    with stages.stage("evaluate") as progress:
        answers = answers_of(work, "tuned" if is_tuned else "base", tests, progress)
    if isinstance(answers, NotApplicable):
        raise ModelError(f"the model cannot answer these rows: {answers.reason}", model)
    return score(work.plan.task, tests, answers, work.recipe.evaluate.metrics, solver=model)


def _by_objective(rows: Prepared, plan: RunPlan | None) -> Prepared:
    """The rows, in the splits of the objective that answers them: a second one answers all that have labels."""
    own = None if plan is None else plan.settings.objective
    if own is None or not own.beside or own.beside_type != "classify" or rows.task != "classify":
        return rows
    return replace(rows, splits={"test": [], BESIDE["test"]: rows.splits["test"]})


def _rows(data: Path, home: Home) -> Prepared:
    """The rows to answer, all in the test split."""
    if data.suffix in RECIPES:
        loaded = recipes.load(data)
        return prepare(recipes.resolve_paths(loaded.recipe, loaded.base), loaded.base, home=home)
    if not data.exists():
        raise DataError("there is no such file", str(data), "Give a data file or a recipe")
    source = read(DataEntry(path=str(data.resolve())), Path.cwd())
    labels = sorted(
        {str(label) for row in source.examples for label in (row.labels or (row.label,)) if label is not None}
    )
    several = any(row.labels is not None for row in source.examples)
    splits = {"train": [], "validation": [], "test": list(source.examples)}
    task: Task = "preference" if source.detected == "preference" else "classify" if labels else "generate"
    return Prepared(splits, [], [source], [], [], task, tuple(labels), several)


def _objective(rows: Prepared) -> Objective:
    """How an untrained model is asked: to compare the answers of pairs, or to answer."""
    return Objective(type="dpo" if rows.task == "preference" else "sft")


def _tuned(model: str, home: Home) -> tuple[RunPlan, Path] | None:
    """The plan by which a model was trained and the folder that holds its `adapter/`; None for a base model."""
    folder = Path(model)
    if (folder / "luthier.json").exists():
        if folder.name != "adapter" or not (folder.parent / "plan.json").exists():
            raise ModelError("the recipe of this adapter is not beside it", model, "Give its name in the registry")
        return read_plan(folder.parent), folder.parent
    try:
        found = versions.get(home, model)
    except LookupError:
        return None
    return registered(home, found)


def _work(home: Home, plan: RunPlan | None, asked: Recipe, folder: Path, found: Prepared, stages: Stages) -> Work:
    recipe = asked if plan is None else plan.settings
    files = locate(recipe.base_model, home.cache("models"), stages.note, recipe.number_format,
                   recipe.machine.stream_base is True)  # fmt: skip
    renderer, cache = renderer_of(files, recipe), home.cache("rendered")
    asked_of = ["test", BESIDE["test"]] if recipe.objective.beside else ["test"]
    rendered = {
        name: render_split(renderer, found.splits[name], cache, rendering_of(recipe, None, name), stages.note)
        for name in asked_of
        if found.splits.get(name)
    }
    if not rendered:
        raise DataError("there are no test rows", asked.data[0].path, "Give a data file, or a recipe that has some")
    if plan is None:
        plan = _plain_plan(
            recipe, Facts(model_facts(files, recipe), data_facts(recipe, found, rendered, renderer), machine_facts())
        )
    rows = {name: [found.splits[name][i] for i in part.examples] for name, part in rendered.items()}
    if plan.dataset_version:
        rows |= {name: version.read(home, plan.dataset_version, name) for name in ("train", BESIDE["train"])}
    files = replace(files, precision=plan.settings.train.precision)  # type: ignore[arg-type]  # resolved
    return Work(home, plan, plan.settings, folder, files, rows, rendered, stages)


def _plain_plan(recipe: Recipe, facts: Facts) -> RunPlan:
    """How an untrained model is asked: every row is a test row, so `auto` is filled as if they were for training."""
    facts = replace(
        facts,
        data=replace(facts.data, rows={"train": facts.data.rows["test"], "test": facts.data.rows["test"]}),
    )
    resolved = recipes.resolve(recipe, facts).recipe
    return RunPlan("", resolved.to_plain(), recipe.to_plain(), [], "", "", [], False, task_of(resolved), {},
                   asdict(forecast(resolved, facts)), {}, "")  # fmt: skip
