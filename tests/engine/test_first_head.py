"""The head that a classifier begins with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from policies import class_policy

from luthier.data.stream import precomputed
from luthier.engine.first_head import STRENGTH, fit_head
from luthier.objectives import TABLE
from luthier.recipe import Adapter
from luthier.recipe import Objective as Settings


def rows(policy, count: int = 60):
    draw = np.random.default_rng(0)
    width = policy.head.config.hidden_size
    labels = draw.integers(0, 3, count)
    features = (np.eye(3)[labels] @ draw.normal(size=(3, width)) + draw.normal(size=(count, width))).astype(np.float32)
    columns = {"features": features, "label": labels, "row_weight": np.ones(count, np.float32)}
    return precomputed(np.ones(count, np.int64), columns)(range(count))[0], features, labels


def test_it_is_scikit_learns_logistic_regression(tiny_bert: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    policy = class_policy(tiny_bert, Adapter(type="head"))
    for parameter in policy.head.parameters():
        parameter.data = parameter.data.float()
    batch, features, labels = rows(policy)
    fit_head(policy, TABLE["classify"](Settings(type="classify"), False), batch)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    theirs = LogisticRegression(C=STRENGTH, tol=1e-8, max_iter=1000).fit(unit, labels)
    ours = torch.softmax(policy.class_logits(batch), 1).detach().numpy()
    assert ours == pytest.approx(theirs.predict_proba(unit), abs=1e-3)
    assert all(parameter.grad is None for parameter in policy.head.parameters())


def test_it_is_the_same_every_time(tiny_bert: Path) -> None:
    found = []
    for _ in range(2):
        policy = class_policy(tiny_bert, Adapter(type="head"))
        for parameter in policy.head.parameters():
            parameter.data = parameter.data.float()
        batch, _, _ = rows(policy)
        fit_head(policy, TABLE["classify"](Settings(type="classify"), False), batch)
        found.append(policy.head.linear.weight.detach().clone())
    assert torch.equal(*found)
