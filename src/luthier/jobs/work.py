"""A run from its plan to its document, in the process that works on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from luthier.data import version
from luthier.engine.allocator import give_back
from luthier.engine.place import started
from luthier.errors import LuthierError
from luthier.evaluate.report import write_report
from luthier.jobs import document as parts
from luthier.jobs.fit import fit
from luthier.jobs.hardest import hardest
from luthier.jobs.in_service import IN_SERVICE, outdated
from luthier.jobs.judge import judge
from luthier.jobs.prepare import renderer_of
from luthier.jobs.probe import chosen
from luthier.jobs.reporting import Recorded, Reporter, Silent, Stages, Timeline
from luthier.jobs.retention import forgetting
from luthier.jobs.rows import render_split, rendering_of
from luthier.jobs.second import PREFIX, is_tested, second
from luthier.jobs.spent import judged
from luthier.jobs.workbench import Work
from luthier.jobs.workspace import DOCUMENT, TIMELINE, read_plan
from luthier.models.locate import locate
from luthier.models.merge import merge_difference, not_merged
from luthier.recipe import Recipe
from luthier.registry import aliases, card, versions
from luthier.store import Home, runs
from luthier.store.files import read_json, write_atomic, write_json

Wishes = Callable[[bool], str | None]
"""(whether a fit is under way) → `pause` or `cancel`, if somebody asked for it."""


class Interrupted(Exception):
    """The run was paused or cancelled; its folder says where to go on."""


def work_on(root: Path, run_id: str, reporter: Reporter, wishes: Wishes) -> dict[str, Any]:
    """Do what is left of a run and return its document. Raises Interrupted where it was paused or cancelled."""
    start = time.perf_counter()
    home = Home.open(root)
    kept = runs.run_folder(home, run_id) / TIMELINE
    earlier = read_json(kept) if kept.exists() else []
    told = Recorded(reporter, home, run_id)
    work = open_work(home, run_id, Stages(told, lambda own: write_json(kept, earlier + own)))
    _threads(work.recipe, started())
    if runs.get(home, run_id).status != "running":
        runs.set_status(home, run_id, "running")
    try:
        fitted = fit(work, lambda: wishes(True) or runs.control(home, run_id))
        _threads(work.recipe, 1)
        give_back()
        if "stopped" in fitted:
            _stopped(home, run_id, fitted["stopped"])
            raise Interrupted
        wishes(False)
        work = chosen(work)
        document = work.folder / DOCUMENT
        done = read_json(document) if document.exists() else _judged(work, fitted)
    except LuthierError:
        runs.set_status(home, run_id, "failed")
        raise
    between = time.perf_counter() - start - _total(work.stages.timeline)
    done["timeline"] = whole_timeline(earlier + work.stages.timeline, fitted["seconds"])
    done["wall_seconds"] = _total(done["timeline"]) + between
    done |= judged(done, done["wall_seconds"])
    return _finish(work, done)


def follow(root: Path, run_id: str) -> None:
    """Take part in the fit of a run that another process leads."""
    work = open_work(Home.open(root), run_id, Stages(Silent()))
    _threads(work.recipe, started())
    fit(work, lambda: None)


def whole_timeline(stages: Timeline, fit_seconds: float) -> Timeline:
    """The seconds that all processes spent in each stage; training counts as its steps do, also those of a process
    that was killed."""
    seconds: dict[str, float] = {}
    for entry in stages:
        seconds[entry["stage"]] = seconds.get(entry["stage"], 0.0) + entry["seconds"]
    seconds["train"] = max(fit_seconds, seconds.get("train", 0.0))
    return [{"stage": stage, "seconds": value} for stage, value in seconds.items()]


def _total(stages: Timeline) -> float:
    return sum(entry["seconds"] for entry in stages)


def open_work(home: Home, run_id: str, stages: Stages) -> Work:
    """Everything the plan of a run names, opened."""
    folder = runs.run_folder(home, run_id)
    plan = read_plan(folder)
    recipe = plan.settings
    with stages.stage("open"):
        files = locate(recipe.base_model, home.cache("models"), stages.note, recipe.number_format,
                       recipe.machine.stream_base is True, recipe.train.precision)  # type: ignore[arg-type]  # fmt: skip
        renderer, cache = renderer_of(files, recipe), home.cache("rendered")
        rows, rendered = {}, {}
        for split in version.SPLITS:
            found = version.read(home, plan.dataset_version, split)
            if found:
                part = render_split(renderer, found, cache, _rendering(recipe, plan.data, split), stages.note)
                rows[split], rendered[split] = [found[i] for i in part.examples], part
    return Work(home, plan, recipe, folder, files, rows, rendered, stages)


def _rendering(recipe: Recipe, data: dict[str, Any], split: str) -> Any:
    longer = data["coverage"]["longest"] > int(recipe.train.sequence_len)
    return rendering_of(recipe, int(recipe.train.sequence_len) if longer else None, split)


def _judged(work: Work, fitted: dict[str, Any]) -> dict[str, Any]:
    """Evaluate, decide and register; leaves `document.json`."""
    found = {} if work.plan.only_fit else judge(work)
    scores = parts.scores_part(work, found) if found else {}
    beside = parts.second_part(work, judge(second(work), PREFIX)) if found and is_tested(work) else {}
    lost = forgetting(work) if found else {}
    verdict = parts.verdict_part(work, scores, lost, beside) if found else {}
    with work.stages.stage("register"):
        adapter = work.folder / "adapter"
        lineage = {
            "base_model": work.files.name, "base_sha256": work.files.sha256, "base_licence": work.files.licence,
            "base_quantised": work.files.quantised, "load_in_4bit": work.recipe.load_in_4bit,
            "load_in_8bit": work.recipe.load_in_8bit,
            "dataset_version": work.plan.dataset_version,
            "merge_logit_difference": merge_difference(work.files, adapter, work.rendered["train"]),
            "not_merged": not_merged(adapter),
        }  # fmt: skip
        done = {
            **parts.about_part(work), **parts.fit_part(work, fitted), **scores, "beside": beside, "forgetting": lost,
            **verdict, "lineage": lineage, "warnings": work.plan.warnings, "hardest": hardest(work),
            "report": str(parts.report_path(work)), "status": "succeeded",
        }  # fmt: skip
        _register(work, done)
    write_json(work.folder / DOCUMENT, done)
    return done


def _register(work: Work, done: dict[str, Any]) -> None:
    model = versions.register(
        work.home, name=str(work.recipe.name), run_id=work.plan.run_id, adapter_folder=work.folder / "adapter",
        base={"name": work.files.name, "sha256": work.files.sha256}, recipe_sha256=work.plan.identity,
        dataset_version=work.plan.dataset_version, scores=parts.tuned_scores(done), card=card.write_card(done),
        lineage=done["lineage"],
    )  # fmt: skip
    done["model"] = model.ref
    done["lineage"]["adapter_sha256"] = model.adapter_sha256
    alias = work.recipe.ship.alias
    if done.get("verdict") == "ship" and alias:
        reason = f"run {work.plan.run_id}: the gate says ship"
        if not _promote(work, model.ref, alias, reason):
            done |= outdated(model.name, alias, work.plan.in_service)
            return
        done["alias"] = alias
        done["next"] = [
            *done["next"],
            f"`{model.name}@{alias}` is this version now; `luthier models rollback {model.name}@{alias}` undoes that.",
            *(
                ["Look at the hardest training rows (under Learning): wrong labels gather there."]
                * bool(done["hardest"])
            ),
        ]


def _promote(work: Work, ref: str, alias: str, reason: str) -> bool:
    """Move the alias, once; False where it was moved since the run was compared with what it pointed at."""
    before = work.plan.in_service
    if IN_SERVICE in work.recipe.evaluate.baselines:
        return aliases.promote_over(work.home, ref, alias, reason, int(before.split("@")[1]) if before else None)
    aliases.promote_once(work.home, ref, alias, reason)
    return True


def _finish(work: Work, done: dict[str, Any]) -> dict[str, Any]:
    if not work.plan.only_fit:
        write_report(done, parts.report_path(work))
    write_atomic(work.folder / "card.md", card.write_card(done))
    if runs.get(work.home, work.plan.run_id).status != "succeeded":
        runs.finish(work.home, work.plan.run_id, done)
    return done


def _stopped(home: Home, run_id: str, reason: str) -> None:
    runs.set_control(home, run_id, None)
    if reason == "cancelled":
        runs.set_status(home, run_id, "cancelling")
    runs.set_status(home, run_id, reason)  # type: ignore[arg-type]


def _threads(recipe: Recipe, processes: int) -> None:
    """Take this process's share of the recipe's threads."""
    import torch

    torch.set_num_threads(max(1, int(recipe.machine.threads) // processes))
