"""The rows of a run as batches: token ids or features, labels and weights, and the passages learnt beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from luthier.data import rehearsal
from luthier.data.batch import Batch
from luthier.data.example import Example
from luthier.data.rendered import Joined, Rendered
from luthier.data.stream import MakeBatches, packed, precomputed
from luthier.errors import DataError
from luthier.jobs.prepare import renderer_of
from luthier.jobs.reporting import Stages
from luthier.jobs.rows import Rendering, render_split
from luthier.jobs.workspace import RunPlan
from luthier.models.features import features
from luthier.models.load import load_policy
from luthier.models.locate import ModelFiles
from luthier.models.policy import Policy
from luthier.models.score import row_nll
from luthier.recipe import Recipe, rehearsed
from luthier.store import Home

Split = str
PASSAGE_TOKENS = 256
"""General passages are not cut below this, however short the rows are."""
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

    @property
    def device(self) -> str:
        """Where models live."""
        return self.recipe.machine.device

    def tuned(self) -> Policy:
        """The policy that the run has trained."""
        return load_policy(self.files, self.folder / "adapter", self.device)


def batches_of(work: Work, policy: Policy) -> tuple[dict[Split, MakeBatches], Callable[[Policy], dict[str, float]]]:
    """How numbers of rows become batches, for each split, and how the validation split is measured."""
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
    """The training rows, then the general passages that are learnt beside them: in a chat, every second one as text."""
    own, count = work.rendered["train"], rehearsed(work.recipe, len(work.rows["train"]))
    if not count:
        return own
    renderer, cache = renderer_of(work.files, work.recipe), work.home.cache("rendered")
    length = min(work.files.context_length, max(int(work.recipe.train.sequence_len), PASSAGE_TOKENS))
    texts, chats = rehearsal.load(count), rehearsal.load_chats(count)
    if work.recipe.objective.type == "sft":
        texts, chats = texts[::2], chats[1::2]
    else:
        chats = []
    as_text, as_chat = Rendering(length, "right", "all", "pretrain"), Rendering(length, "right", "assistant", "sft")
    parts = [(texts, as_text), (chats, as_chat)]
    return Joined((own, *(render_split(renderer, rows, cache, how, work.stages.note) for rows, how in parts if rows)))


def all_features(work: Work, policy: Policy) -> Batch:
    """The training rows as one batch of what the untouched trunk says about them."""
    columns = label_columns(work.rows["train"], work.recipe, work.plan.labels, work.plan.multi_label)
    columns |= {"features": trunk_features(work, policy, "train")}
    return precomputed(work.rendered["train"].lengths, columns)(range(len(work.rows["train"])))[0].to(policy.device)


def trunk_features(work: Work, policy: Policy, split: Split) -> np.ndarray:
    """The frozen trunk's pooled output for a split, cached."""
    with work.stages.stage(f"features ({split})") as progress:
        key = f"{work.files.sha256} {policy.pooling}"
        return features(policy, work.rendered[split], key, work.home.cache("features"), progress)


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
