"""What a probe found out → what the fit and the whole job will take."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np

from luthier.engine.budget import DECODING, gradient_forwards
from luthier.engine.rollouts import Rollouts
from luthier.engine.whole_job import STEP_SECONDS
from luthier.evaluate.report.numbers import duration, size
from luthier.jobs.feeds.feed import Feed
from luthier.jobs.operations import above_frozen
from luthier.jobs.prepare import model_facts
from luthier.jobs.trials import Measured
from luthier.jobs.workbench import Work
from luthier.recipe import HEADED, PAIRED, sharing, total_steps

END_SECONDS = 3.0
"""Of writing, merging and registering what was learnt."""
FORGETTING_TOKENS = 12_000
"""Tokens that the retention set has, about; the base and the tuned model read them."""
SHOTS = ("few_shot",)
MODELS = ("base", "few_shot", "in_service")
"""Baselines that run a language model."""


def foretell(work: Work, feed: Feed, found: Measured, load_bytes: int, before: float) -> dict[str, Any]:
    """The forecast after the probe, with the keys of the one before it, as JSON-ready values.

    `load_bytes` is the most memory that was held so far, `before` the seconds of what is computed once before the
    first step.
    """
    recipe, steps = work.recipe, total_steps(work.recipe, len(work.rows["train"]))
    step = found.looked.step_operations * found.operation_seconds + found.looked.step_seconds + found.update_seconds
    step += STEP_SECONDS
    validation = validation_seconds(work, feed, found)
    seconds = steps * step + validations(work, steps) * validation
    job = sum(stage["seconds"] for stage in work.stages.timeline) + seconds + END_SECONDS
    if not work.plan.only_fit:
        job += evaluation_seconds(work, found, before)
    return {
        "steps": steps, "tokens": work.plan.forecast["tokens"], "seconds": seconds, "before_seconds": before,
        "job_seconds": job, "step_seconds": step, "validation_seconds": validation,
        "peak_memory_bytes": int(max(load_bytes, found.step_bytes)) * sharing(recipe),
        "cost": (seconds + before) / 3600 * recipe.machine.price_per_hour,
    }  # fmt: skip


def told(forecast: dict[str, Any], spent: float) -> str:
    """One line for people: the forecast after the probe, and when the job will have ended."""
    left = max(0.0, forecast["job_seconds"] - spent)
    ready = datetime.now() + timedelta(seconds=left)
    return (
        f"measured: {duration(forecast['step_seconds'])} a step, {duration(forecast['seconds'])} for "
        f"{forecast['steps']:,} steps, {size(forecast['peak_memory_bytes'])} at the peak; the whole job about "
        f"{duration(forecast['job_seconds'])}, until {ready:%H:%M}"
    )


def validations(work: Work, steps: int) -> int:
    """How often the policy is measured during the fit."""
    return -(-steps // int(work.recipe.train.eval_steps)) if work.rows.get("validation") else 0


def validation_seconds(work: Work, feed: Feed, found: Measured) -> float:
    """Those of one validation: forward passes over its rows, as heavy as training rows, or greedy answers to them."""
    rows, size_ = len(work.rows.get("validation", [])), int(work.recipe.train.batch_size)
    if isinstance(feed.source, Rollouts):
        asked = size_ * work.recipe.objective.num_generations
        return found.looked.taking_seconds * rows / asked
    return rows / size_ * found.looked.step_operations * forward_seconds(work, found)


def forward_seconds(work: Work, found: Measured) -> float:
    """Seconds of an operation of a forward pass alone."""
    layers = model_facts(work.files, work.recipe).num_layers
    return found.operation_seconds / (1 + gradient_forwards(work.recipe, layers) / above_frozen(work))


def evaluation_seconds(work: Work, found: Measured, before: float) -> float:
    """About, of the tuned model and the baselines that run a model on the test rows, and of what was forgotten."""
    recipe, settings = work.recipe, work.recipe.evaluate
    trunk, head = found.operations.trunk / above_frozen(work), found.operations.head
    tests = len(work.rows.get("test", []))
    rows = min(settings.max_rows or tests, tests)
    if not rows:
        return 0.0
    rendered = work.rendered["test"]
    mean = float(rendered.lengths.mean()) * (2 if recipe.objective.type in PAIRED else 1)
    if recipe.objective.type in HEADED:
        read = 0.0 if recipe.adapter.type == "head" else rows * mean * trunk * forward_seconds(work, found)
        return untouched_seconds(work, before, rows) + read
    solvers = [name for name in settings.baselines if name in MODELS]
    answer = float(np.count_nonzero(rendered.weights)) / max(1, len(rendered))
    token = trunk + head
    total = 0.0
    for name in [*solvers, "tuned"]:
        shown = 1 + settings.shots * (name in SHOTS)
        total += rows * mean * shown * trunk
        if set(settings.metrics) - {"nll"} and recipe.objective.type not in PAIRED:
            total += rows * answer * DECODING * token
    if settings.forgetting:
        total += 2 * FORGETTING_TOKENS * token
    return total * forward_seconds(work, found)


def untouched_seconds(work: Work, before: float, rows: int) -> float:
    """Those of what the untouched trunk says of so many test rows, as it took before of others; 0 where nobody asks."""
    head = work.recipe.adapter.type == "head"
    if not head and "base" not in work.recipe.evaluate.baselines:
        return 0.0
    others = sum(len(part) for name, part in work.rows.items() if name == "train" or (head and name != "test"))
    return before * rows / others
