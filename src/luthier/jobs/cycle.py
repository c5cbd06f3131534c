"""`luthier cycle`: learn from what people said since the last time, and promote what is better than what is in service.

A cycle is a folder, `cycles/<model>@<alias>/<number>`, whose files are whole or not there; it goes on at the first that
is missing:

plan.json      which feedback, which version is in service, which held-out rows
curated.json   the dataset version made of the feedback, and what became of each piece
recipe.yaml    the recipe with those rows, which `luthier run` can do again
document.json  what came of it
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import luthier.recipe as recipes
from luthier.data import version
from luthier.errors import RecipeError
from luthier.feedback.curate import Wishes
from luthier.feedback.gather import LEARNS
from luthier.jobs.cycle_plan import CURATED, PLAN, CyclePlan, plan_cycle, read_plan, recipe_of, said_in, write_plan
from luthier.jobs.in_service import IN_SERVICE, task_of
from luthier.jobs.learn import curate_task
from luthier.jobs.reporting import Reporter, Silent, Stages
from luthier.jobs.run import command_of, run
from luthier.recipe import Recipe
from luthier.registry import aliases
from luthier.store import Home, runs
from luthier.store.clock import now
from luthier.store.files import Lock, read_json, write_atomic, write_json

RECIPE, DOCUMENT = "recipe.yaml", "document.json"


def cycle(
    recipe_path: Path | str,
    overrides: Sequence[str] = (),
    home: Home | None = None,
    reporter: Reporter | None = None,
    wishes: Wishes = Wishes(),
) -> dict[str, Any]:
    """Do a cycle, or go on with an unfinished one, and return its document.

    Nothing is written where nothing was said since the last one. Raises a LuthierError where the input is wrong;
    TrainingError where the fit failed; KeyboardInterrupt where it was interrupted, after which the same call goes on.
    """
    home, reporter = home or Home.open(), reporter or Silent()
    loaded = recipes.load(recipe_path, overrides)
    source = recipes.resolve_paths(loaded.recipe, loaded.base)
    source = source.model_copy(update={"name": source.name or recipes.default_name(source)})
    if source.ship.alias is None:
        raise RecipeError("`ship.alias` is null, so nothing says what is in service", str(recipe_path), "Name an alias")
    if task_of(source) not in LEARNS:
        what = f"`{source.objective.type}` learns from plain text, and feedback has none"
        raise RecipeError(what, "objective", "Write `sft`, `dpo`, `reward` or `classify`")
    wishes = replace(wishes, personal=source.curate.personal)
    line = home.root / "cycles" / f"{source.name}@{source.ship.alias}"
    with Lock(line / "lock"):
        return _next(home, line, source, loaded.base, wishes, reporter)


def _next(
    home: Home, line: Path, source: Recipe, base: Path, wishes: Wishes, reporter: Reporter
) -> dict[str, Any]:  # fmt: skip
    """Go on with the newest cycle, or begin the one after it."""
    stages, folders = Stages(reporter), sorted(path.parent for path in line.glob(f"*/{PLAN}"))
    if folders and not (folders[-1] / DOCUMENT).exists():
        open_one = folders.pop()
        if _as_begun(home, open_one, source, wishes):
            stages.note(f"going on with cycle {int(open_one.name)}")
            return _carry_out(home, open_one, reporter, stages)
        stages.note(f"cycle {int(open_one.name)} begins again: its recipe has changed")
        for name in (PLAN, RECIPE, CURATED):
            (open_one / name).unlink(missing_ok=True)
    plan = plan_cycle(home, source, base, folders[-1] if folders else None, wishes)
    if not plan.new:
        return {
            "outcome": "nothing_new", "model": plan.model, "alias": plan.alias, "in_service": plan.in_service,
            "cycles": len(folders), "feedback": {"total": len(plan.feedback), "new": 0},
        }  # fmt: skip
    folder = line / f"{plan.number:04}"
    write_plan(folder, plan)
    return _carry_out(home, folder, reporter, stages)


def _as_begun(home: Home, folder: Path, source: Recipe, wishes: Wishes) -> bool:
    """Whether an unfinished cycle is still what is asked for; one whose run has ended is finished in any case."""
    plan = read_plan(folder)
    same = (plan.recipe, plan.wishes) == (source.to_plain(), asdict(wishes))
    return same or runs.find_succeeded(home, command_of(folder / RECIPE)) is not None


def _carry_out(home: Home, folder: Path, reporter: Reporter, stages: Stages) -> dict[str, Any]:
    """Do what is left of a cycle; leaves `document.json`."""
    plan = read_plan(folder)
    made = _kept(folder / CURATED, lambda: _learn(home, plan, stages))
    document = _about(plan, made, folder)
    if made["dataset"] is None or made["known"]:
        document |= {"outcome": "nothing_learnt", "in_service": plan.in_service}
    else:
        if not (folder / RECIPE).exists():
            write_atomic(folder / RECIPE, recipes.dump_yaml(recipe_of(home, plan, made["dataset"])))
        done = runs.find_succeeded(home, command_of(folder / RECIPE))
        found = done.document if done and done.document else run(folder / RECIPE, (), home, reporter)
        document |= _outcome(home, plan, found)
    document["ended_at"] = now()
    write_json(folder / DOCUMENT, document)
    return document


def _kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was written before, or what `make` finds, written."""
    if not path.exists():
        write_json(path, make())
    return read_json(path)


def _learn(home: Home, plan: CyclePlan, stages: Stages) -> dict[str, Any]:
    """The dataset version made of the feedback that the cycle began with. `known`: the last cycle's said the same."""
    with stages.stage("curate"):
        said = said_in(home, plan)
        made = curate_task(home, said, plan.task, plan.held_out, plan.earlier, Wishes(**plan.wishes))
        known = made["dataset"] is not None and _content(home, made["dataset"]) == _content(home, plan.earlier)
        stages.note(f"{made['rows']} rows from {len(said)} pieces of feedback, {plan.new} of them new")
        return made | {"known": known}


def _content(home: Home, dataset: str | None) -> set[str]:
    return {row.content_id for row in version.read(home, dataset, "train")} if dataset else set()


def _about(plan: CyclePlan, made: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the cycle began with, and the rows it made."""
    first = made["steps"][0]
    return {
        "cycle": plan.number, "model": plan.model, "alias": plan.alias, "before": plan.in_service,
        "feedback": {"total": first["rows_in"], "new": plan.new, "used": first["rows_out"], "left": first["dropped"]},
        "dataset": made["dataset"], "rows": made["rows"], "steps": made["steps"], "notes": made["notes"],
        "held_out": plan.held_out, "folder": str(folder), "begun_at": plan.begun_at,
    }  # fmt: skip


def _outcome(home: Home, plan: CyclePlan, found: dict[str, Any]) -> dict[str, Any]:
    """What the run found, and what is in service after it."""
    name = f"{plan.model}@{plan.alias}"
    promoted = bool(found.get("alias"))
    standing = aliases.current(home, plan.model).get(name)
    return {
        "outcome": "promoted" if promoted else "held", "run_id": found["run_id"], "version": found["model"],
        "verdict": found["verdict"], "metric": found["metric"], "solvers": found["solvers"],
        "against_in_service": found["deltas"].get(IN_SERVICE), "reasons": found["reasons"], "next": found["next"],
        "report": found["report"], "in_service": f"{plan.model}@{standing}" if standing else None,
        "undo": f"luthier models rollback {name}" if promoted and plan.in_service else None,
    }  # fmt: skip
