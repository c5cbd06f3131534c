"""What each objective computes, against the same computed directly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from luthier.data.batch import Batch, pack, unpacked
from luthier.data.forest import Row
from luthier.objectives import TABLE, Objective
from luthier.recipe import Objective as Settings

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0], [-3.0, 1.0, 1.5], [0.2, 0.1, 4.0]], dtype=torch.float64)
CLASS = np.array([0, 2, 1, 2])
SEVERAL = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 1], [0, 0, 1]], np.float32)
WEIGHT = np.array([1.0, 0.5, 2.0, 0.0], np.float32)


@dataclass
class Says:
    """A policy with the answers it is given."""

    class_answers: Tensor | None = None
    log_probabilities: Tensor | None = None

    def class_logits(self, batch: Batch) -> Tensor:
        assert self.class_answers is not None
        return self.class_answers[batch.numbers_R]

    def logprobs(self, batch: Batch) -> Tensor:
        assert self.log_probabilities is not None
        return self.log_probabilities


def objective(name: str, several: bool = False, **settings: Any) -> Objective:
    return TABLE[name](Settings(type=name, **settings), several)  # type: ignore[arg-type]


def labelled(label: np.ndarray, *numbers: int) -> Batch:
    chosen = np.array(numbers or range(4))
    return unpacked(chosen, np.full(4, 5), {"label": label, "row_weight": WEIGHT})


def terms(objective: Objective, policy: Says, batch: Batch) -> Tensor:
    scored = objective.score(policy, batch)  # type: ignore[arg-type]
    (term,) = scored.terms.values()
    assert scored.terms.keys() == objective.units.keys()
    return term


@pytest.mark.parametrize("name", ["sft", "pretrain"])
def test_answers_are_scored_by_their_weighted_likelihood(name: str) -> None:
    rows = [Row(np.arange(4), np.array([0, 0, 1, 0.5], np.float32), 3), Row(np.arange(3), np.ones(3, np.float32), 8)]
    batch = pack(rows)
    policy = Says(log_probabilities=torch.tensor([-1.0, -2.0, -3.0, -4.0], dtype=torch.float64))
    assert terms(objective(name), policy, batch).tolist() == [1.0 + 0.5 * 2.0, 3.0 + 4.0]
    assert objective(name).count(batch) == {"nll": 1.5 + 2.0}


def test_a_row_without_targets_has_a_loss_of_0() -> None:
    rows = [Row(np.arange(4), np.zeros(4, np.float32), 0), Row(np.arange(2), np.array([0, 1], np.float32), 1)]
    policy = Says(log_probabilities=torch.tensor([-1.5]))
    assert terms(objective("sft"), policy, pack(rows)).tolist() == [0.0, 1.5]


def test_one_label_is_weighted_cross_entropy() -> None:
    found = terms(objective("classify"), Says(LOGITS), labelled(CLASS))
    rows = zip(LOGITS.tolist(), CLASS, strict=True)
    own = [-math.log(math.exp(logits[label]) / sum(map(math.exp, logits))) for logits, label in rows]
    assert found.tolist() == pytest.approx([w * loss for w, loss in zip(WEIGHT.tolist(), own, strict=True)])
    assert objective("classify").count(labelled(CLASS)) == {"cross_entropy": 3.5}


def test_class_weights_give_the_gradient_of_torchs_weighted_mean() -> None:
    weight = torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)
    batch = unpacked(np.arange(4), np.full(4, 5), {"label": CLASS, "row_weight": weight[CLASS].numpy()})
    ours, theirs = (LOGITS.clone().requires_grad_() for _ in range(2))
    one = objective("classify")
    (terms(one, Says(ours), batch).sum() / one.count(batch)["cross_entropy"]).backward()
    F.cross_entropy(theirs, torch.from_numpy(CLASS), weight=weight).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_smoothing_spreads_its_share_over_all_classes() -> None:
    found = terms(objective("classify", label_smoothing=0.3), Says(LOGITS), labelled(CLASS))
    share = torch.full((4, 3), 0.3 / 3, dtype=torch.float64)
    share[range(4), CLASS] += 0.7
    own = -(share * torch.log_softmax(LOGITS, 1)).sum(1)
    torch.testing.assert_close(found, own * torch.from_numpy(WEIGHT))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_several_labels_are_a_mean_of_binary_decisions(smoothing: float) -> None:
    found = terms(objective("classify", True, label_smoothing=smoothing), Says(LOGITS), labelled(SEVERAL))
    own = []
    for logits, labels in zip(LOGITS.tolist(), SEVERAL.tolist(), strict=True):
        shares = [label * (1 - smoothing) + smoothing / 2 for label in labels]
        likely = [1 / (1 + math.exp(-logit)) for logit in logits]
        losses = [-y * math.log(p) - (1 - y) * math.log(1 - p) for y, p in zip(shares, likely, strict=True)]
        own.append(sum(losses) / 3)
    assert found.tolist() == pytest.approx([w * loss for w, loss in zip(WEIGHT.tolist(), own, strict=True)])


@pytest.mark.parametrize(("several", "label"), [(False, CLASS), (True, SEVERAL)])
def test_each_row_has_its_own_column(several: bool, label: np.ndarray) -> None:
    one = objective("classify", several)
    whole = terms(one, Says(LOGITS), labelled(label))
    assert terms(one, Says(LOGITS), labelled(label, 2, 0)).tolist() == whole[[2, 0]].tolist()
    assert one.count(labelled(label, 2, 0)) == {"cross_entropy": 3.0}


def test_a_row_is_right_if_its_label_is_and_several_if_all_are() -> None:
    scored = objective("classify").score(Says(LOGITS), labelled(CLASS))  # type: ignore[arg-type]
    assert scored.metrics["accuracy"].tolist() == [True, False, False, True]
    several = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]], np.float32)
    scored = objective("classify", True).score(Says(LOGITS), labelled(several))  # type: ignore[arg-type]
    assert scored.metrics["accuracy"].tolist() == [True, True, False, True]


def test_every_objective_of_the_recipe_is_in_the_table() -> None:
    assert set(TABLE) == set(Settings.model_fields["type"].annotation.__args__)
