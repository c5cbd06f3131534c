"""DP-SGD: clipping against an eager loop over rows, the noise's variance, the draws, and opacus's accountant."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from policies import RowsInMemory, batch_maker, class_policy, distance, gradient, language_policy, language_rows
from torch import Tensor

from luthier.data.forest import Row
from luthier.data.stream import packed
from luthier.engine.accountant import guarantee, spent
from luthier.engine.checkpoint import PAUSED, Checkpoints
from luthier.engine.loop import train
from luthier.engine.plan import Plan
from luthier.engine.private import Draws, clipped, noise
from luthier.engine.seams import Seams
from luthier.errors import MissingExtra, RecipeError, TrainingError
from luthier.models.policy import Policy
from luthier.objectives import TABLE
from luthier.recipe import Adapter, Recipe, Train, from_mapping
from luthier.recipe import Objective as Settings

SFT = TABLE["sft"](Settings(), False)


def equal_rows() -> list[Row]:
    """Rows with four targets each."""
    return [
        Row(row.ids, np.r_[np.zeros(len(row.ids) - 4), np.ones(4)].astype(np.float32), row.number)
        for row in language_rows()
    ]


def private_gradient(policy: Policy, objective: Any, batches: list[Any], bound: float, size: int) -> Tensor:
    plan = Plan(Train(learning_rate=1.0), policy.trainable(), 1, seams=Seams(gradient=clipped(bound, size)))
    units = dict.fromkeys(objective.units, 1e9)  # what was drawn must not matter
    assert len(list(plan.backward(policy, objective, batches, units))) == len(batches)
    found = torch.cat([p.grad.flatten() for p in policy.trainable().values() if p.grad is not None])
    plan.optimizer.zero_grad()
    return found


@pytest.mark.parametrize("bound", [0.05, 1.0, 20.0])
def test_clipping_equals_a_loop_over_rows(bound: float, tiny_llama: Path) -> None:
    policy, rows = language_policy(tiny_llama), language_rows()
    make, parameters = batch_maker(rows), list(policy.trainable().values())
    total = torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64)
    for i, row in enumerate(rows):
        loss = -(policy.logprobs(make([i]))).sum() / row.weights[1:].sum()
        own = torch.cat([part.flatten() for part in torch.autograd.grad(loss, parameters)])
        total += own * min(1.0, bound / float(own.norm())) / 5
    found = private_gradient(policy, SFT, [make([i]) for i in range(6)], bound, size=5)
    assert distance(total, found) < 1e-8


def test_without_clipping_it_is_the_plain_gradient(tiny_llama: Path, tiny_bert: Path) -> None:
    make = batch_maker(equal_rows())
    policy = language_policy(tiny_llama)
    plain = gradient(policy, SFT, [make(range(6))])
    assert distance(plain, private_gradient(policy, SFT, [make([i]) for i in range(6)], 1e9, size=6)) < 1e-6
    columns = {"label": np.array([0, 1, 2, 0, 1, 2]), "row_weight": np.ones(6, np.float32)}
    make = batch_maker([replace(row, weights=0 * row.weights) for row in language_rows(90)], columns)
    policy, classify = (
        class_policy(tiny_bert, Adapter(type="full")),
        TABLE["classify"](Settings(type="classify"), False),
    )
    plain = gradient(policy, classify, [make(range(6))])
    assert distance(plain, private_gradient(policy, classify, [make([i]) for i in range(6)], 1e9, size=6)) < 1e-6


def test_one_row_moves_the_sum_by_its_bound_at_most(tiny_llama: Path) -> None:
    policy, make = language_policy(tiny_llama), batch_maker(language_rows())
    with_all = private_gradient(policy, SFT, [make([i]) for i in range(6)], 0.05, size=5)
    without = private_gradient(policy, SFT, [make([i]) for i in range(5)], 0.05, size=5)
    assert float((with_all - without).norm()) * 5 == pytest.approx(0.05, rel=1e-6)


def test_several_rows_in_one_micro_batch_are_a_bug(tiny_llama: Path) -> None:
    with pytest.raises(AssertionError, match="single row"):
        private_gradient(language_policy(tiny_llama), SFT, [batch_maker(language_rows())([0, 1])], 1.0, size=2)


def test_the_noise_has_its_variance_and_its_seed() -> None:
    def added(step: int, seed: int = 3, start: float = 0.0) -> Tensor:
        parameters = {"a": torch.nn.Parameter(torch.zeros(400, 500)), "b": torch.nn.Parameter(torch.zeros(7))}
        parameters["a"].grad = torch.full((400, 500), start)
        noise(Draws(lambda numbers: [], 10, 0.5, seed), 0.25)(step, parameters)
        assert parameters["b"].grad is not None
        return parameters["a"].grad

    assert float(added(0).std()) == pytest.approx(0.25, rel=0.01)
    assert float(added(0).mean()) == pytest.approx(0.0, abs=0.003)
    assert torch.equal(added(0), added(0))
    torch.testing.assert_close(added(0, start=1.0), added(0) + 1)
    assert abs(float(torch.corrcoef(torch.stack([added(0).flatten(), added(1).flatten()]))[0, 1])) < 0.01
    assert not torch.equal(added(0), added(0, seed=4))


def test_draws_are_independent_coins() -> None:
    draws = Draws(lambda numbers: [], count=50, rate=0.1, seed=7)
    taken = np.array([np.isin(np.arange(50), draws.numbers(step)) for step in range(4000)])
    assert taken.mean() == pytest.approx(0.1, abs=0.003)
    assert taken.sum(1).var() == pytest.approx(50 * 0.1 * 0.9, rel=0.1)
    assert np.abs(np.corrcoef(taken[:, :10].T) - np.eye(10)).max() < 0.07
    assert draws.numbers(9) == draws.numbers(9)


def fit(model: Path, folder: Path, rate: float = 0.4, stop: int = 0, seed: int = 5) -> tuple[Policy, Plan, Any]:
    policy, rows = language_policy(model, dtype=torch.float32), RowsInMemory(language_rows())
    draws = Draws(packed(rows, 60, share_prefix=True), len(rows), rate, seed, "rows")  # type: ignore[arg-type]
    seams = Seams(gradient=clipped(0.1, 3), after_backward=(noise(draws, 0.02),), clip=False)
    plan = Plan(Train(learning_rate=1e-2), policy.trainable(), 5, seams=seams)
    run = Checkpoints(folder, 1)
    outcome = train(policy, SFT, draws, plan, run, [lambda report, p: PAUSED if report.step == stop else None])
    return policy, plan, outcome


def test_a_private_run_goes_on_with_its_secret(tiny_llama: Path, tmp_path: Path) -> None:
    whole = fit(tiny_llama, tmp_path / "whole")
    assert fit(tiny_llama, tmp_path / "parts", stop=2)[2].steps == 2
    resumed = fit(tiny_llama, tmp_path / "parts", seed=99)
    pairs = zip(whole[0].trainable().values(), resumed[0].trainable().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert fit(tiny_llama, tmp_path / "again", stop=2)[2].steps == 2
    with pytest.raises(TrainingError, match="another rate"):
        fit(tiny_llama, tmp_path / "again", rate=0.5)


def test_a_step_without_rows_is_a_step_of_noise(tiny_llama: Path, tmp_path: Path) -> None:
    before = [p.detach().clone() for p in language_policy(tiny_llama, dtype=torch.float32).trainable().values()]
    policy, _, outcome = fit(tiny_llama, tmp_path, rate=0.0)
    assert outcome.steps == 5
    assert not any(torch.equal(a, b) for a, b in zip(before, policy.trainable().values(), strict=True))


def recipe(**privacy: Any) -> Recipe:
    train = {"num_epochs": 3, "batch_size": 16, "rehearsal": 0, "max_grad_norm": 0.5}
    return from_mapping({"base_model": "m", "data": "d", "privacy": privacy, "train": train})


def test_the_guarantee_is_that_of_opacus() -> None:
    opacus = pytest.importorskip("opacus.accountants")
    found = guarantee(recipe(target_epsilon=4, target_delta=1e-4), 500)
    assert found is not None
    assert 3.9 < found.epsilon <= 4
    assert (found.steps, found.sample_rate, found.max_grad_norm, found.delta) == (94, 16 / 500, 0.5, 1e-4)
    accountant = opacus.RDPAccountant()
    for _ in range(94):
        accountant.step(noise_multiplier=found.noise_multiplier, sample_rate=16 / 500)
    assert found.epsilon == pytest.approx(accountant.get_epsilon(1e-4), rel=1e-9)
    given = guarantee(recipe(noise_multiplier=found.noise_multiplier, target_delta=1e-4), 500)
    assert given == found
    assert spent(1.0, 0.1, 10, 1e-5) < spent(1.0, 0.1, 20, 1e-5)
    assert guarantee(recipe(), 500) is None


def test_promises_that_cannot_be_kept_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match=r"0.01 is not below 1 / rows.*Write at most 2e-04"):
        guarantee(recipe(target_epsilon=8, target_delta=0.01), 500)
    monkeypatch.setitem(sys.modules, "opacus.accountants", None)
    with pytest.raises(MissingExtra, match=r"luthier\[dp\]"):
        guarantee(recipe(target_epsilon=8), 500)
