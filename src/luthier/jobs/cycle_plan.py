"""What a cycle is begun with: which feedback, what is in service, and the recipe that follows from both."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from luthier.data import version
from luthier.data.pipeline import prepare
from luthier.data.prepared import Task
from luthier.feedback.curate import Wishes
from luthier.feedback.said import Said
from luthier.jobs.in_service import IN_SERVICE, current, task_of
from luthier.recipe import STORED, DataEntry, Recipe
from luthier.store import Home, feedback
from luthier.store.clock import now
from luthier.store.files import read_json, write_json

PLAN, CURATED = "plan.json", "curated.json"
HELD_OUT = ("validation", "test", "beside_validation", "beside_test")
"""Splits whose rows are those of the version in service, so that both are measured on the same."""


@dataclass(frozen=True)
class CyclePlan:
    """What a cycle was begun with, JSON-ready."""

    number: int
    model: str
    alias: str
    recipe: dict[str, Any]
    task: Task
    in_service: str | None
    bases: list[str]
    """Names under which the base model was served, where no version was in service yet."""
    held_out: str
    """The dataset version whose held-out rows are used."""
    earlier: str | None
    """The dataset version that the last cycle made of feedback."""
    feedback: list[list[str | None]]
    """Id, time and review of each piece."""
    new: int
    """Pieces that the last cycle did not begin with as they are now."""
    wishes: dict[str, Any]
    begun_at: str


def read_plan(folder: Path) -> CyclePlan:
    """The plan that was left there."""
    return CyclePlan(**read_json(folder / PLAN))


def write_plan(folder: Path, plan: CyclePlan) -> None:
    """Leave the plan in the folder of the cycle."""
    write_json(folder / PLAN, asdict(plan))


def plan_cycle(home: Home, source: Recipe, base: Path, last: Path | None, wishes: Wishes) -> CyclePlan:
    """The cycle that would follow the one in the folder `last`; `source` has a name and an alias."""
    before = read_plan(last) if last else None
    standing = current(home, source)
    bases = [] if standing else sorted({source.base_model, Path(source.base_model).name})
    said = [[row.id, row.created_at, row.review] for row, _ in feedback.of_models(home, str(source.name), bases)]
    new = len({*map(tuple, said)} - {*map(tuple, before.feedback if before else [])})
    own = standing.dataset_version if standing else _own_version(home, source, base) if new else ""
    return CyclePlan(
        number=before.number + 1 if before else 1, model=str(source.name), alias=str(source.ship.alias),
        recipe=source.to_plain(), task=task_of(source), in_service=standing.ref if standing else None, bases=bases,
        held_out=own, earlier=read_json(last / CURATED)["dataset"] if last else None, feedback=said, new=new,
        wishes=asdict(wishes), begun_at=now(),
    )  # fmt: skip


def _own_version(home: Home, source: Recipe, base: Path) -> str:
    """The recipe's data without any feedback, where no version is in service whose held-out rows could be used."""
    return version.write(home, prepare(source, base, home=home), source).id


def said_in(home: Home, plan: CyclePlan) -> list[Said]:
    """The feedback that the cycle began with, but for what was changed or taken back since."""
    wanted = {tuple(one) for one in plan.feedback}
    found = (Said(*pair) for pair in feedback.of_models(home, plan.model, plan.bases))
    return [one for one in found if (one.row.id, one.row.created_at, one.row.review) in wanted]


def recipe_of(home: Home, plan: CyclePlan, dataset: str) -> Recipe:
    """The recipe with the rows of `dataset` among its train rows, measured on the held-out rows of the version in
    service, and against it."""
    source = Recipe.model_validate(plan.recipe)
    splits = version.get(home, plan.held_out).manifest["splits"]
    data = [entry for entry in source.data if entry.split not in HELD_OUT]
    data += [DataEntry(path=STORED + dataset)]
    data += [DataEntry(path=STORED + plan.held_out, split=split) for split in HELD_OUT if splits.get(split)]  # type: ignore[arg-type]
    baselines = source.evaluate.baselines
    if plan.in_service and IN_SERVICE not in baselines:
        baselines = (*baselines, IN_SERVICE)  # type: ignore[assignment, arg-type]
    evaluate = source.evaluate.model_copy(update={"baselines": baselines})
    return source.model_copy(update={"data": tuple(data), "evaluate": evaluate})
