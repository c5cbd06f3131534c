"""Training as a job: a plan and rows in, a trained policy and what it took out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from luthier.engine import world
from luthier.engine.checkpoint import Checkpoints, best_step, load_best
from luthier.engine.hooks import Announce, Budget, Clock, Control, Patience, Validate
from luthier.engine.loop import Hook, train
from luthier.engine.peak import Peak
from luthier.jobs.feeds.feed import Measure
from luthier.jobs.hardest import RowLosses
from luthier.jobs.learner import learner, policy_at_step_0
from luthier.jobs.workbench import Work
from luthier.jobs.workspace import FIT, PROBE, whole_folder
from luthier.models.load import save_policy
from luthier.recipe import Recipe, parse_time
from luthier.store import runs
from luthier.store.files import read_json, write_json

SECONDS_BETWEEN_REPORTS = 0.2


def fit(work: Work, look: Callable[[], str | None]) -> dict[str, Any]:
    """Train, or go on training; leaves `adapter/` and `fit.json` and returns the latter.

    A fit that a hook paused or cancelled returns its reason under `stopped` and leaves neither. Of several processes,
    the one that leads writes; the others return nothing.
    """
    done = work.folder / FIT
    if done.exists() and (work.folder / "adapter").exists():
        return read_json(done)
    with world.joined(work.recipe.machine):
        return _fit(work, look)


def _fit(work: Work, look: Callable[[], str | None]) -> dict[str, Any]:
    peak = Peak(work.device)
    work, policy, feed, optimisation, memory = learner(work, peak)
    with work.stages.stage("train"):
        start = time.perf_counter()
        telling, losses = Telling(work, optimisation.steps), RowLosses(work, int(work.recipe.train.save_steps))
        clock = Clock(memory)
        hooks: list[Hook] = [clock, *_hooks(work, memory, feed.measure, optimisation.steps)]
        if world.leads():
            hooks += [losses] if feed.learns_rows else []
            hooks += [Announce(memory, optimisation.steps, telling), Control(look)]
        outcome = train(policy, feed.objective, feed.source, optimisation, memory, hooks)
        clock.stop()
        peaks = world.everyone(peak.overall())
        wall = time.perf_counter() - start
    if not world.leads():
        return {}
    telling.log()
    losses.write()
    if outcome.reason in ("paused", "cancelled"):
        return {"stopped": outcome.reason}
    if policy.together:
        policy = policy_at_step_0(work, "cpu")
    load_best(policy, memory.folder)
    whole_folder(work.folder / "adapter", lambda folder: save_policy(policy, folder, work.files))
    result = {
        "steps": outcome.steps, "reason": outcome.reason, "best_step": best_step(memory.folder),
        "tokens": memory.tokens, "seconds": memory.seconds, "last_process_seconds": wall,
        "tokens_per_second": memory.tokens / memory.seconds if memory.seconds else 0.0,
        "peak_memory_bytes": (max if work.device == "cuda" else sum)(peaks),
        "trained_parameters": sum(p.numel() for p in policy.trainable().values()),
        "probe": read_json(work.folder / PROBE),
    }  # fmt: skip
    write_json(work.folder / FIT, result)
    return result


def _hooks(
    work: Work,
    memory: Checkpoints,
    measure: Measure,
    steps: int,
) -> list[Hook]:
    settings = work.recipe.train
    hooks: list[Hook] = []
    validate = None
    if work.rows.get("validation"):
        expected = read_json(work.folder / PROBE)["forecast"]["validation_seconds"]
        validate = Validate(memory, measure, settings.metric_for_best_model, int(settings.eval_steps), steps, expected)
        hooks.append(validate)
        if settings.early_stopping_patience:
            hooks.append(Patience(memory, settings.metric_for_best_model, settings.early_stopping_patience))
    limit = _seconds_allowed(work.recipe)
    if limit is not None:
        hooks.append(Budget(memory, limit, validate))
    return hooks


@dataclass
class Telling:
    """Writes metrics and reports progress a few times a second, and whenever a checkpoint may be due."""

    work: Work
    steps: int
    waiting: list[dict[str, Any]] = field(default_factory=list)
    last: float = 0.0

    def __call__(self, event: dict[str, Any]) -> None:
        self.waiting.append(event)
        step, now = event["step"], time.perf_counter()
        due = step % int(self.work.recipe.train.save_steps) == 0 or step == self.steps
        if not due and now - self.last < SECONDS_BETWEEN_REPORTS:
            return
        self.log()
        data = {"stage": "train", "done": step, "total": self.steps, "loss": event["metrics"]["loss"]}
        self.work.stages.reporter.event("progress", "train", event | data)
        self.last = now

    def log(self) -> None:
        """Write the metrics that wait."""
        for earlier in self.waiting:
            values = {**earlier["metrics"], "tokens_per_second": earlier["tokens_per_second"]}
            runs.log_metrics(self.work.home, self.work.plan.run_id, earlier["step"], values)
        self.waiting = []


def _seconds_allowed(recipe: Recipe) -> float | None:
    limits = []
    if recipe.train.max_time is not None:
        limits.append(float(parse_time(recipe.train.max_time)))
    if recipe.train.max_cost is not None:
        limits.append(recipe.train.max_cost / recipe.machine.price_per_hour * 3600)
    return min(limits, default=None)
