"""The run document: all that a run found out, in the form that `--json`, the report and the card read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from luthier.evaluate.classic import NotApplicable
from luthier.evaluate.failures import breakdown, slices
from luthier.evaluate.paired import best_baseline, compare
from luthier.evaluate.scores import Scores
from luthier.jobs.judge import Found, values
from luthier.jobs.second import PREFIX, second
from luthier.jobs.spent import spent_part
from luthier.jobs.workbench import Work
from luthier.registry.gate import decide
from luthier.store import runs

CURVES = ("loss", "learning_rate", "reward", "reward_std", "truncated", "answer_tokens", "entropy", "kl", "clipped")


def scores_part(work: Work, found: Mapping[str, Found]) -> dict[str, Any]:
    """What was measured, by solver, and the paired differences between the tuned model and each baseline."""
    metrics, confidence = list(work.recipe.evaluate.metrics), work.recipe.evaluate.confidence
    measured = {name: scores for name, scores in found.items() if isinstance(scores, Scores)}
    tuned = measured["tuned"]
    primary = metrics[0]
    rivals = {name: scores for name, scores in measured.items() if name != "tuned" and primary in scores.metrics}
    deltas = {name: _differences(tuned, scores, metrics, confidence) for name, scores in rivals.items()}
    best = best_baseline(rivals, primary) if rivals else None
    against = {} if best is None else {m: d | {"against": best} for m, d in deltas[best].items()}
    return {
        "metric": primary, "confidence": confidence,
        "solvers": {n: values(s, metrics, confidence) for n, s in measured.items()},
        "base": values(measured["base"], metrics, confidence) if "base" in measured else {},
        "tuned": values(tuned, metrics, confidence), "best_baseline": best, "delta": against, "deltas": deltas,
        "skipped_baselines": {name: why.reason for name, why in found.items() if isinstance(why, NotApplicable)},
        "samples": breakdown(tuned, rivals[best], primary) if best else {},
        "slices": slices(tuned, primary, confidence),
        "evaluation_seconds": {name: scores.seconds for name, scores in measured.items()},
    }  # fmt: skip


def _differences(tuned: Scores, baseline: Scores, metrics: Sequence[str], confidence: float) -> dict[str, Any]:
    both = [metric for metric in metrics if metric in tuned.metrics and metric in baseline.metrics]
    return {metric: asdict(compare(tuned, baseline, metric, confidence)) for metric in both}


def second_part(work: Work, found: Mapping[str, Found]) -> dict[str, Any]:
    """What the second objective is, and what `scores_part` says of it."""
    settings = work.recipe.objective
    about = {"objective": settings.beside_type, "weight": settings.beside, "labels": work.plan.labels}
    return about | scores_part(second(work), found)


def tuned_scores(document: Mapping[str, Any]) -> dict[str, Any]:
    """What the tuned model was measured to reach, with the metrics of both objectives."""
    own, beside = document.get("tuned", {}), document.get("beside", {}).get("tuned", {})
    return own | {PREFIX + name: estimate for name, estimate in beside.items()}


def verdict_part(
    work: Work, scores: Mapping[str, Any], forgetting: Mapping[str, Any], beside: Mapping[str, Any] = {}
) -> dict[str, Any]:
    """The gate's decision, its reasons, and what to do next."""
    verdict = decide(
        metric=scores["metric"], deltas=scores["deltas"], forgetting=forgetting, ship=work.recipe.ship,
        confidence=work.recipe.evaluate.confidence, beside=beside,
    )  # fmt: skip
    return {"verdict": verdict.verdict, "reasons": verdict.reasons, "next": verdict.next}


def fit_part(work: Work, fitted: Mapping[str, Any]) -> dict[str, Any]:
    """Curves, speed, and what the fit took beside what was forecast."""
    hours = fitted["seconds"] / 3600
    return {
        "tokens_per_second": fitted["tokens_per_second"], "peak_memory_bytes": fitted["peak_memory_bytes"],
        "best_step": fitted["best_step"], "stopped_because": fitted["reason"],
        "trained_parameters": fitted["trained_parameters"], "curves": curves(work),
        **spent_part(work, fitted),
        "energy_wh": hours * float(work.recipe.machine.power_watts), "adapter_path": str(work.folder / "adapter"),
    }  # fmt: skip


def curves(work: Work) -> dict[str, list[list[float]]]:
    """Metrics by step: those of `CURVES`, each validation metric, and those of each of two objectives."""
    found: dict[str, list[list[float]]] = {}
    for step, name, value in runs.metrics(work.home, work.plan.run_id):
        if name in CURVES or name.startswith("validation_") or "/" in name:
            found.setdefault("train_loss" if name == "loss" else name, []).append([step, value])
    return found


def about_part(work: Work) -> dict[str, Any]:
    """What the run was: recipe, data, machine, and how to do it again."""
    plan = work.plan
    return {
        "run_id": plan.run_id, "name": work.recipe.name, "task": plan.task, "data": plan.data,
        "dataset_version": plan.dataset_version, "resolved": plan.reasons, "environment": plan.environment,
        "command": plan.command, "recipe": plan.recipe, "recipe_sha256": plan.identity,
        "privacy": plan.privacy, "in_service": plan.in_service,
    }  # fmt: skip


def report_path(work: Work) -> Path:
    """Where the run's page lies."""
    return work.folder / "report.html"
