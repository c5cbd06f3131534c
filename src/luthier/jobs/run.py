"""`luthier run`: prepare in this process, work in a child of its own, and take up what was left unfinished."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import luthier.recipe as recipes
from luthier.data import version
from luthier.data.stored import versions_of
from luthier.engine.place import launched, number
from luthier.errors import TrainingError
from luthier.jobs import processes
from luthier.jobs.in_service import standing
from luthier.jobs.machine import environment, machine_facts
from luthier.jobs.prepare import Ready, data_part, make_ready
from luthier.jobs.reporting import Reporter, Silent, Stages
from luthier.jobs.warnings import warnings
from luthier.jobs.workspace import PLAN, RunPlan, write_plan
from luthier.store import Home, runs
from luthier.store.files import Lock
from luthier.store.runs import RunRow


def run(
    recipe_path: Path | str,
    overrides: Sequence[str] = (),
    home: Home | None = None,
    reporter: Reporter | None = None,
    fresh: bool = False,
    only_fit: bool = False,
) -> dict[str, Any]:
    """Do a recipe, or go on with an unfinished run of it, and return the run document.

    Where torchrun started this process, the first one returns it, the others nothing.

    Raises a LuthierError, before anything is written, where the input is wrong; TrainingError where the fit failed;
    KeyboardInterrupt where it was interrupted, after which the same call goes on.
    """
    home, reporter, recipe_path = home or Home.open(), reporter or Silent(), Path(recipe_path)
    if launched() > 1 and number() > 0:
        processes.follow(home, reporter)
        return {}
    loaded = recipes.load(recipe_path, overrides)
    source = recipes.resolve_paths(loaded.recipe, loaded.base)
    stages, machine = Stages(reporter), machine_facts()  # measured before another process takes the cores
    with processes.waiting() as child:
        with stages.stage("prepare"):
            ready = make_ready(source, loaded.base, home, stages.note, machine)
            for text in ready.data.notes:
                stages.note(text)
            rival = standing(home, ready.recipe, ready.files.sha256)
            data = version.write(home, ready.data, ready.recipe, parents=versions_of(home, ready.source))
            row = None if fresh else runs.find_unfinished(home, identity(ready, data.id, only_fit))
            row = row or _create(home, ready, data.id, command_of(recipe_path, overrides, only_fit), only_fit)
            reporter.event("note", f"run {row.id}", {"run_id": row.id})
            if not (runs.run_folder(home, row.id) / PLAN).exists():
                plan = plan_of(ready, row.id, row.recipe_sha256, row.command, data.id, only_fit, rival)
                write_plan(runs.run_folder(home, row.id), plan)
        with Lock(runs.lock_path(home, row.id)) as lock:
            code = processes.work(home, row.id, reporter, lock, int(ready.recipe.machine.num_processes), child)
    return _result(home, row.id, code)


def identity(ready: Ready, dataset: str, only_fit: bool) -> str:
    """What makes two runs the same: recipe, rows and base weights."""
    text = f"{recipes.fingerprint(ready.source)} {dataset} {ready.files.sha256} {only_fit}"
    return hashlib.sha256(text.encode()).hexdigest()


def _create(home: Home, ready: Ready, dataset: str, command: str, only_fit: bool) -> RunRow:
    recipe, key = ready.recipe, identity(ready, dataset, only_fit)
    return runs.create(home, name=str(recipe.name), recipe=recipe.to_plain(), recipe_sha256=key, command=command)


def plan_of(
    ready: Ready, run_id: str, key: str, command: str, dataset: str, only_fit: bool, rival: str | None = None
) -> RunPlan:  # fmt: skip
    """What the working process of a run must know; `key` is its identity, `rival` the version in service."""
    recipe, part = ready.recipe, data_part(ready, dataset)
    return RunPlan(
        run_id=run_id, recipe=recipe.to_plain(), source=ready.source.to_plain(),
        reasons=[asdict(reason) for reason in ready.resolved.reasons], dataset_version=dataset,
        identity=key, labels=outputs(ready),
        multi_label=ready.data.multi_label, task=task_of(recipe), data=part, warnings=warnings(ready, part),
        forecast=asdict(ready.forecast) | ({"job_seconds": None} if only_fit else {}),
        environment=environment(ready.facts.machine), command=command,
        only_fit=only_fit, privacy=asdict(ready.privacy) if ready.privacy else None, in_service=rival,
    )  # fmt: skip


def outputs(ready: Ready) -> list[str]:
    """The names of the head's outputs: the labels, or the one of a reward model; none where there is no head."""
    objective = ready.recipe.objective
    if objective.type == "reward":
        return ["reward"]
    classified = "classify" in (objective.type, objective.beside and objective.beside_type)
    return list(ready.data.labels) if classified else []


def task_of(recipe: recipes.Recipe) -> str:
    """What the tuned model does."""
    tasks = {"classify": "classify", "pretrain": "text", "reward": "reward"}
    return tasks.get(recipe.objective.type, "generate")


def command_of(recipe_path: Path, overrides: Sequence[str] = (), only_fit: bool = False) -> str:
    """The command line that does a recipe, and goes on with it."""
    verb = "train" if only_fit else "run"
    return shlex.join(["luthier", verb, str(recipe_path), *(part for text in overrides for part in ("--set", text))])


def _result(home: Home, run_id: str, code: int) -> dict[str, Any]:
    row = runs.get(home, run_id)
    if row.document is not None:
        return row.document
    if code == 130:
        raise KeyboardInterrupt
    raise TrainingError(
        f"the working process ended with code {code}", where=f"run {run_id}",
        mend="Its messages stand above; the same command goes on from the last checkpoint",
    )  # fmt: skip
