"""Labels: token ids or the frozen trunk's features, with labels and weights as columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from luthier.data.batch import Batch
from luthier.data.example import Example
from luthier.data.stream import MakeBatches, packed, precomputed
from luthier.engine.first_head import fit_head
from luthier.errors import DataError
from luthier.evaluate.f1 import plain_f1
from luthier.jobs.feeds.feed import Feed, shuffled
from luthier.jobs.feeds.frozen import above_frozen
from luthier.jobs.operations import costs_of
from luthier.jobs.workbench import Split, Work
from luthier.models.features import features
from luthier.models.policy import Policy
from luthier.objectives import TABLE
from luthier.recipe import Recipe

OTHER_LABEL = "Give rows with a label column, and with labels that the training rows have"


def classes(work: Work, policy: Policy) -> Feed:
    """Begins with the best head on the untouched trunk; validated by accuracy and macro-F1."""
    objective = TABLE["classify"](work.recipe.objective, work.plan.multi_label)
    make = {split: _batches(work, policy, split) for split in ("train", "validation") if split in work.rendered}

    def measure(policy: Policy) -> dict[str, float]:
        if "validation" not in make:
            return {}
        batches = make["validation"](range(len(work.rendered["validation"])))
        return _validation_classes(policy, batches, work.plan.multi_label)

    def begin() -> None:
        rows = all_features(work, policy)
        with work.stages.stage("first head"):
            fit_head(policy, objective, rows)

    lengths = None if work.recipe.adapter.type == "head" else work.rendered["train"].lengths
    source = shuffled(work, make["train"], len(work.rows["train"]))
    return Feed(source, objective, measure, begin, lengths=lengths)


def _batches(work: Work, policy: Policy, split: Split) -> MakeBatches:
    budget, lanes = int(work.plan.forecast["micro_batch_tokens"]), int(work.plan.forecast["lanes"])
    rows = work.rendered[split]
    columns = label_columns(work.rows[split], work.recipe, work.plan.labels, work.plan.multi_label)
    if work.recipe.adapter.type == "head":
        return precomputed(rows.lengths, columns | {"features": trunk_features(work, policy, split)})
    return above_frozen(work, policy, rows, split)(
        packed(rows, budget, columns, lanes=lanes, costs=costs_of(work, policy))
    )


def all_features(work: Work, policy: Policy) -> Batch:
    """The training rows as one batch of what the trunk says about them before the first step."""
    columns = label_columns(work.rows["train"], work.recipe, work.plan.labels, work.plan.multi_label)
    columns |= {"features": trunk_features(work, policy, "train")}
    return precomputed(work.rendered["train"].lengths, columns)(range(len(work.rows["train"])))[0].to(policy.device)


def trunk_features(work: Work, policy: Policy, split: Split) -> np.ndarray:
    """What the policy's trunk says before the first step, pooled, for a split; cached."""
    with work.stages.stage(f"features ({split})") as progress:
        key = f"{work.files.weights_key} {policy.pooling}{_virtual(work.recipe)}"
        return features(policy, work.rendered[split], key, work.home.cache("features"), progress)


def _virtual(recipe: Recipe) -> str:
    """Names the virtual tokens with which the trunk starts; empty where it starts as the base."""
    adapter = recipe.adapter
    return f" {adapter.type} {adapter.virtual_tokens} {recipe.train.seed}" if adapter.virtual_tokens else ""


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


def _validation_classes(policy: Policy, batches: list[Any], multi_label: bool) -> dict[str, float]:
    with policy.evaluating():
        logits = torch.cat([policy.class_logits(batch.to(policy.device)) for batch in batches]).cpu()
    truth = torch.cat([batch.column("label") for batch in batches])
    guess = (logits > 0).to(truth.dtype) if multi_label else logits.argmax(1)
    right = (guess == truth).all(1) if multi_label else guess == truth
    wanted, given = (_members(labels, logits.shape[1]) for labels in (truth, guess))
    return {"accuracy": float(right.float().mean()), "macro_f1": plain_f1(wanted, given, "macro_f1")}


def _members(labels: torch.Tensor, classes: int) -> np.ndarray:
    """Memberships (R, C) of one label a row; those of several are that already."""
    members = labels if labels.ndim == 2 else torch.nn.functional.one_hot(labels, classes)
    return members.double().numpy()
