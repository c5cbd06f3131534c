"""The folder of a run: what the process that prepares it leaves for the one that works on it.

plan.json      the resolved recipe, why, the dataset version, the forecast
checkpoints/   see engine.checkpoint
losses.json    the loss of each training row when it was last learnt
adapter/       what was learnt, whole or not there
scores/        one file of samples for each solver
timeline.json  the seconds of each stage that was finished, by all processes
probe.json     the micro-batches that were chosen, and the forecast after they were tried
fit.json, document.json, report.html, card.md
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from luthier.recipe import Recipe
from luthier.store.files import read_json, write_json

PLAN, FIT, DOCUMENT, TIMELINE, PROBE = "plan.json", "fit.json", "document.json", "timeline.json", "probe.json"


@dataclass(frozen=True)
class RunPlan:
    """All that the working process must know, JSON-ready."""

    run_id: str
    recipe: dict[str, Any]
    source: dict[str, Any]
    reasons: list[dict[str, Any]]
    dataset_version: str
    identity: str
    labels: list[str]
    multi_label: bool
    task: str
    data: dict[str, Any]
    forecast: dict[str, Any]
    environment: dict[str, Any]
    command: str
    only_fit: bool = False
    warnings: list[str] = field(default_factory=list)
    privacy: dict[str, Any] | None = None
    """What was promised about the training rows (`engine.accountant.Guarantee`)."""
    in_service: str | None = None
    """The version that the alias pointed at when the run was planned, where it is compared with that."""

    @property
    def settings(self) -> Recipe:
        """The resolved recipe as a value."""
        return Recipe.model_validate(self.recipe)


def write_plan(folder: Path, plan: RunPlan) -> None:
    """Leave the plan in the run's folder."""
    write_json(folder / PLAN, asdict(plan))


def read_plan(folder: Path) -> RunPlan:
    """The plan that was left there."""
    return RunPlan(**read_json(folder / PLAN))


def whole_folder(target: Path, fill: Callable[[Path], None]) -> None:
    """Have `fill` write a folder beside `target`, and rename it: the target is whole or not there."""
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    fill(part)
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
