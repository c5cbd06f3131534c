"""`luthier run`: prepare in this process, work in a child of its own, and take up what was left unfinished."""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import luthier.errors as errors
import luthier.recipe as recipes
from luthier.data import version
from luthier.errors import LuthierError, TrainingError
from luthier.jobs.machine import environment
from luthier.jobs.prepare import Ready, get_ready
from luthier.jobs.reporting import Reporter, Stages
from luthier.jobs.workspace import PLAN, RunPlan, write_plan
from luthier.store import Home, runs
from luthier.store.files import Lock
from luthier.store.runs import RunRow

PATIENCE_SECONDS = 60
"""How long an interrupted fit may take to finish its step and write its checkpoint."""


def run(
    recipe_path: Path,
    overrides: Sequence[str],
    home: Home,
    reporter: Reporter,
    fresh: bool = False,
    only_fit: bool = False,
) -> dict[str, Any]:
    """Do a recipe, or go on with an unfinished run of it, and return the run document.

    Raises a LuthierError, before anything is written, where the input is wrong; TrainingError where the fit failed;
    KeyboardInterrupt where it was interrupted, after which the same call goes on.
    """
    stages = Stages(reporter)
    with stages.stage("prepare"):
        ready = get_ready(recipe_path, overrides, home, stages.note)
        for text in ready.data.notes:
            stages.note(text)
        data = version.write(home, ready.data, ready.recipe)
        row = _unfinished(home, ready, data.id, only_fit) if not fresh else None
        command = _command(recipe_path, overrides, only_fit)
        row = row or _create(home, ready, data.id, command, only_fit)
    with Lock(runs.lock_path(home, row.id)) as lock:
        code = _work(home, row.id, reporter, lock)
    return _result(home, row.id, code)


def _unfinished(home: Home, ready: Ready, dataset: str, only_fit: bool) -> RunRow | None:
    row = runs.find_unfinished(home, identity(ready, dataset, only_fit))
    if row is not None and not (runs.run_folder(home, row.id) / PLAN).exists():
        return None
    return row


def identity(ready: Ready, dataset: str, only_fit: bool) -> str:
    """What makes two runs the same: recipe, rows and base weights."""
    text = f"{recipes.fingerprint(ready.source)} {dataset} {ready.files.sha256} {only_fit}"
    return hashlib.sha256(text.encode()).hexdigest()


def _create(home: Home, ready: Ready, dataset: str, command: str, only_fit: bool) -> RunRow:
    recipe, key = ready.recipe, identity(ready, dataset, only_fit)
    row = runs.create(home, name=str(recipe.name), recipe=recipe.to_plain(), recipe_sha256=key, command=command)
    plan = RunPlan(
        run_id=row.id, recipe=recipe.to_plain(), source=ready.source.to_plain(),
        reasons=[asdict(reason) for reason in ready.resolved.reasons], dataset_version=dataset, identity=key,
        labels=list(ready.data.labels) if recipe.objective.type == "classify" else [],
        multi_label=ready.data.multi_label, task=_task(recipe), data=data_part(ready, dataset),
        forecast=asdict(ready.forecast), environment=environment(ready.facts.machine), command=command, only_fit=only_fit,
    )  # fmt: skip
    write_plan(runs.run_folder(home, row.id), plan)
    return row


def data_part(ready: Ready, dataset: str | None) -> dict[str, Any]:
    """The `data` block of the run document."""
    found = ready.data
    reports = [part.report for part in ready.rendered.values()]
    return {
        "version": dataset, "splits": {name: len(rows) for name, rows in found.splits.items()},
        "steps": [asdict(step) for step in found.steps], "notes": list(found.notes),
        "sources": [
            {"path": str(s.path), "type": s.detected, "why": s.why, "rows": s.rows, "sha256": s.sha256, "licence": e.licence}
            for s, e in zip(found.sources, ready.recipe.data, strict=True)
        ],
        "coverage": {
            "tokens": sum(r.tokens for r in reports), "trained_tokens": sum(r.trained_tokens for r in reports),
            "truncated": sum(len(r.truncated) for r in reports), "longest": max(r.longest for r in reports),
            "zero_coverage": [row for r in reports for row in r.zero_coverage][:20],
        },
    }  # fmt: skip


def _task(recipe: recipes.Recipe) -> str:
    return {"sft": "generate", "classify": "classify", "pretrain": "text"}[recipe.objective.type]


def _command(recipe_path: Path, overrides: Sequence[str], only_fit: bool) -> str:
    verb = "train" if only_fit else "run"
    return shlex.join(["luthier", verb, str(recipe_path), *(part for text in overrides for part in ("--set", text))])


def _work(home: Home, run_id: str, reporter: Reporter, lock: Lock) -> int:
    """Start the working process and pass its events on; its exit code. The lock is held until both have ended."""
    command = [sys.executable, "-m", "luthier.jobs.worker", str(home.root), run_id]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
                             pass_fds=(lock.fileno(),))  # fmt: skip
    assert child.stdout is not None
    try:
        for line in child.stdout:
            _pass_on(line, reporter)
        return child.wait()
    except KeyboardInterrupt:
        child.terminate()
        try:
            child.wait(PATIENCE_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            child.kill()
        raise
    finally:
        assert child.stdin is not None
        child.stdin.close()


def _pass_on(line: str, reporter: Reporter) -> None:
    event = json.loads(line)
    if event["kind"] == "error":
        part = event["data"]
        raise getattr(errors, part["type"])(part["what"], part["where"], part["mend"])
    reporter.event(event["kind"], event["message"], event["data"])


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


__all__ = ["LuthierError", "data_part", "run"]
