"""Training as a job: a plan and rows in, a trained policy and what it took out."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from luthier.data import rehearsal
from luthier.data.example import Example
from luthier.data.rendered import Joined, Rendered
from luthier.data.stream import MakeBatches, Stream, packed, precomputed
from luthier.engine.checkpoint import Checkpoints, best_step, load_best
from luthier.engine.hooks import Announce, Budget, Clock, Control, Patience, Validate
from luthier.engine.loop import Hook, train
from luthier.engine.plan import Plan
from luthier.errors import DataError
from luthier.jobs.prepare import renderer_of
from luthier.jobs.reporting import Stages
from luthier.jobs.rows import Rendering, render_split
from luthier.jobs.workspace import FIT, RunPlan, whole_folder
from luthier.models.features import features
from luthier.models.load import make_policy, save_policy
from luthier.models.locate import ModelFiles
from luthier.models.policy import Policy
from luthier.models.score import row_nll
from luthier.objectives import TABLE
from luthier.recipe import Recipe, parse_time, rehearsed, total_steps
from luthier.store import Home, runs
from luthier.store.files import read_json, write_json

Split = str
SECONDS_BETWEEN_REPORTS = 0.2
OTHER_LABEL = "Give rows with a label column, and with labels that the training rows have"


@dataclass(frozen=True)
class Work:
    """What a run works with: its plan, folder, base model, rows and token ids by split."""

    home: Home
    plan: RunPlan
    recipe: Recipe
    folder: Path
    files: ModelFiles
    rows: dict[Split, list[Example]]
    rendered: dict[Split, Rendered]
    stages: Stages


def fit(work: Work, look: Callable[[], str | None]) -> dict[str, Any]:
    """Train, or go on training; leaves `adapter/` and `fit.json` and returns the latter.

    A fit that a hook paused or cancelled returns its reason under `stopped` and leaves neither.
    """
    done = work.folder / FIT
    if done.exists() and (work.folder / "adapter").exists():
        return read_json(done)
    recipe, plan = work.recipe, work.plan
    with work.stages.stage("load"):
        policy = make_policy(work.files, recipe.adapter, tuple(plan.labels), plan.multi_label, recipe.train.seed,
                             recipe.machine.device)  # fmt: skip
    make, measure = _batches(work, policy)
    steps = total_steps(recipe, len(work.rows["train"]))
    count = len(work.rows["train"]) + rehearsed(recipe, len(work.rows["train"]))
    total = min(steps * int(recipe.train.batch_size), round(count * float(recipe.train.num_epochs)))
    stream = Stream(make["train"], count, int(recipe.train.batch_size), total, recipe.train.seed,
                    plan.dataset_version)  # fmt: skip
    optimisation = Plan(recipe.train, policy.trainable(), steps, int(plan.forecast["lanes"]))
    memory = Checkpoints(work.folder / "checkpoints", int(recipe.train.save_steps))
    with work.stages.stage("train"):
        start = time.perf_counter()
        objective = TABLE[recipe.objective.type](recipe.objective, plan.multi_label)
        outcome = train(policy, objective, stream, optimisation, memory, _hooks(work, memory, measure, steps, look))
        wall = time.perf_counter() - start
    if outcome.reason in ("paused", "cancelled"):
        return {"stopped": outcome.reason}
    load_best(policy, memory.folder)
    whole_folder(work.folder / "adapter", lambda folder: save_policy(policy, folder, work.files))
    result = {
        "steps": outcome.steps, "reason": outcome.reason, "best_step": best_step(memory.folder),
        "tokens": memory.tokens, "seconds": memory.seconds, "last_process_seconds": wall,
        "tokens_per_second": memory.tokens / memory.seconds if memory.seconds else 0.0,
        "peak_memory_bytes": peak_memory(),
        "trained_parameters": sum(p.numel() for p in policy.trainable().values()),
    }  # fmt: skip
    write_json(done, result)
    return result


def peak_memory() -> int:
    """The most memory this process ever held, in bytes; on a GPU, the device's."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def label_columns(rows: list[Example], recipe: Recipe, labels: list[str], multi_label: bool) -> dict[str, np.ndarray]:
    """`label` and `row_weight` of classification rows; class weights are counted on these rows."""
    index = {label: i for i, label in enumerate(labels)}
    member = np.zeros((len(rows), len(labels)), np.float32)
    for number, row in enumerate(rows):
        for label in row.labels if row.labels is not None else (row.label,):
            if label not in index:
                raise DataError(
                    f"the label {label!r} is none of the {len(labels)} that were learnt", row.row_id, OTHER_LABEL
                )
            member[number, index[label]] = 1
    weights = class_weights(member, recipe.objective.class_weights, labels)
    own = np.array([row.weight for row in rows], np.float32)
    share = (member @ weights) / np.maximum(member.sum(1), 1)
    share[member.sum(1) == 0] = 1
    return {"label": member if multi_label else member.argmax(1), "row_weight": (own * share).astype(np.float32)}


def class_weights(member: np.ndarray, setting: str | dict[str, float], labels: list[str]) -> np.ndarray:
    """The weight of each class: 1, n / (classes × n of the class), or what the recipe says."""
    if setting == "none":
        return np.ones(len(labels), np.float32)
    if isinstance(setting, dict):
        return np.array([setting.get(label, 1.0) for label in labels], np.float32)
    return (len(member) / (len(labels) * np.maximum(member.sum(0), 1))).astype(np.float32)


def _batches(work: Work, policy: Policy) -> tuple[dict[Split, MakeBatches], Callable[[Policy], dict[str, float]]]:
    """How numbers of rows become batches, and how the validation split is measured."""
    budget, lanes = int(work.plan.forecast["micro_batch_tokens"]), int(work.plan.forecast["lanes"])
    validation = work.rendered.get("validation")
    if work.recipe.objective.type != "classify":
        share = policy.lm_head is not None
        rendered = work.rendered | {"train": with_rehearsal(work)}
        make = {name: packed(rows, budget, share_prefix=share, lanes=lanes) for name, rows in rendered.items()}
        return make, lambda p: _validation_nll(p, validation, budget) if validation is not None else {}
    make = {}
    for name, rows in work.rendered.items():
        columns = label_columns(work.rows[name], work.recipe, work.plan.labels, work.plan.multi_label)
        make[name] = packed(rows, budget, columns, lanes=lanes)
        if work.recipe.adapter.type == "head":
            make[name] = precomputed(rows.lengths, columns | {"features": trunk_features(work, policy, name)})
    count = 0 if validation is None else len(validation)
    return make, lambda p: _validation_classes(p, make["validation"](range(count)), work.plan.multi_label)


def with_rehearsal(work: Work) -> Rendered | Joined:
    """The training rows, then the general passages that are learnt beside them."""
    own, count = work.rendered["train"], rehearsed(work.recipe, len(work.rows["train"]))
    if not count:
        return own
    rendering = Rendering(int(work.recipe.train.sequence_len), "right", "all", "pretrain")
    renderer = renderer_of(work.files, work.recipe)
    return Joined(
        own, render_split(renderer, rehearsal.load(count), work.home.cache("rendered"), rendering, work.stages.note)
    )


def trunk_features(work: Work, policy: Policy, split: Split) -> np.ndarray:
    """The frozen trunk's pooled output for a split, cached."""
    with work.stages.stage(f"features ({split})") as progress:
        key = f"{work.files.sha256} {policy.pooling}"
        return features(policy, work.rendered[split], key, work.home.cache("features"), progress)


def _validation_nll(policy: Policy, rows: Rendered, budget: int) -> dict[str, float]:
    nll, weight = row_nll(policy, rows, budget)
    return {"nll": float(nll.sum() / weight.sum())} if weight.sum() else {}


def _validation_classes(policy: Policy, batches: list[Any], multi_label: bool) -> dict[str, float]:
    from sklearn.metrics import f1_score

    with policy.evaluating():
        logits = torch.cat([policy.class_logits(batch.to(policy.device)) for batch in batches]).cpu()
    truth = torch.cat([batch.column("label") for batch in batches])
    guess = (logits > 0).to(truth.dtype) if multi_label else logits.argmax(1)
    right = (guess == truth).all(1) if multi_label else guess == truth
    f1 = f1_score(truth.numpy(), guess.numpy(), average="macro", zero_division=0)
    return {"accuracy": float(right.float().mean()), "macro_f1": float(f1)}


def _hooks(
    work: Work,
    memory: Checkpoints,
    measure: Callable[[Policy], dict[str, float]],
    steps: int,
    look: Callable[[], str | None],
) -> list[Hook]:
    settings = work.recipe.train
    hooks: list[Hook] = [Clock(memory)]
    if work.rows.get("validation"):
        hooks.append(Validate(memory, measure, settings.metric_for_best_model, int(settings.eval_steps), steps))
        if settings.early_stopping_patience:
            hooks.append(Patience(memory, settings.metric_for_best_model, settings.early_stopping_patience))
    limit = _seconds_allowed(work.recipe)
    if limit is not None:
        hooks.append(Budget(memory, limit))

    return [*hooks, Announce(memory, steps, Telling(work, steps)), Control(look)]


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
        for earlier in self.waiting:
            runs.log_metrics(self.work.home, self.work.plan.run_id, earlier["step"], earlier["metrics"])
        data = {"stage": "train", "done": step, "total": self.steps, "loss": event["metrics"]["loss"]}
        self.work.stages.reporter.event("progress", "train", event | data)
        self.waiting, self.last = [], now


def _seconds_allowed(recipe: Recipe) -> float | None:
    limits = []
    if recipe.train.max_time is not None:
        limits.append(float(parse_time(recipe.train.max_time)))
    if recipe.train.max_cost is not None:
        limits.append(recipe.train.max_cost / recipe.machine.price_per_hour * 3600)
    return min(limits, default=None)
