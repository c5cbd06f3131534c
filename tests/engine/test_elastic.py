"""Elastic weight consolidation against its formula, written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from policies import RowsInMemory, batch_maker, distance, language_policy, language_rows

from luthier.data.stream import Stream, packed
from luthier.engine.checkpoint import PAUSED, Checkpoints
from luthier.engine.elastic import empirical_fisher, hold
from luthier.engine.loop import train
from luthier.engine.plan import Plan
from luthier.engine.seams import Seams
from luthier.models.policy import Policy
from luthier.objectives import TABLE
from luthier.recipe import Objective, Train

SFT = TABLE["sft"](Objective(), False)


def test_the_fisher_information_is_the_mean_squared_gradient_of_a_row(tiny_llama: Path) -> None:
    policy, make = language_policy(tiny_llama), batch_maker(language_rows())
    parameters = list(policy.trainable().values())
    squares = []
    for i in range(6):
        own = torch.autograd.grad(-policy.logprobs(make([i])).sum(), parameters)
        squares.append(torch.cat([part.flatten() for part in own]) ** 2)
    found = empirical_fisher(policy, SFT, (make([i]) for i in range(6)))
    assert found.keys() == policy.trainable().keys()
    assert distance(torch.stack(squares).mean(0), torch.cat([part.flatten() for part in found.values()])) < 1e-10
    assert all(parameter.grad is None for parameter in parameters)


def test_the_pull_is_the_gradient_of_the_penalty() -> None:
    draw = torch.Generator().manual_seed(0)
    start = {name: torch.randn(3, 4, generator=draw, dtype=torch.float64) for name in "ab"}
    fisher = {name: torch.rand(3, 4, generator=draw, dtype=torch.float64) for name in "ab"}
    parameters = {name: torch.nn.Parameter(value.clone()) for name, value in start.items()}
    pull = hold(3.0, fisher, parameters)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(torch.randn(3, 4, generator=draw, dtype=torch.float64))
    parameters["a"].grad = torch.ones(3, 4, dtype=torch.float64)
    penalty = sum((fisher[name] * (parameters[name] - start[name]) ** 2).sum() * 3.0 / 2 for name in "ab")
    wanted = torch.autograd.grad(penalty, list(parameters.values()))
    pull(0, parameters)
    torch.testing.assert_close(parameters["a"].grad, wanted[0] + 1, rtol=1e-12, atol=0)
    torch.testing.assert_close(parameters["b"].grad, wanted[1], rtol=1e-12, atol=0)


def fit(model: Path, folder: Path, strength: float, stop: int = 0) -> tuple[Policy, Any]:
    policy, rows = language_policy(model, dtype=torch.float32), RowsInMemory(language_rows())
    earlier = batch_maker(language_rows(seed=9))
    fisher = empirical_fisher(policy, SFT, (earlier([i]) for i in range(6)))
    seams = Seams(after_backward=(hold(strength, fisher, policy.trainable()),))
    stream = Stream(packed(rows, 60), len(rows), 4, 4 * 6, 0, "rows")  # type: ignore[arg-type]
    plan = Plan(Train(learning_rate=1e-2), policy.trainable(), 6, seams=seams)
    outcome = train(policy, SFT, stream, plan, Checkpoints(folder, 1),
                    [lambda report, p: PAUSED if report.step == stop else None])  # fmt: skip
    return policy, outcome


def test_a_held_run_goes_on_to_the_same_end(tiny_llama: Path, tmp_path: Path) -> None:
    whole, _ = fit(tiny_llama, tmp_path / "whole", 1.0)
    assert fit(tiny_llama, tmp_path / "parts", 1.0, stop=3)[1].steps == 3
    resumed, _ = fit(tiny_llama, tmp_path / "parts", 1.0)
    pairs = zip(whole.trainable().values(), resumed.trainable().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_what_is_held_moves_less(tiny_llama: Path, tmp_path: Path) -> None:
    start = language_policy(tiny_llama, dtype=torch.float32)
    earlier = batch_maker(language_rows(seed=9))
    fisher = empirical_fisher(start, SFT, (earlier([i]) for i in range(6)))

    def moved(strength: float) -> float:
        policy, _ = fit(tiny_llama, tmp_path / str(strength), strength)
        pairs = zip(fisher.values(), start.trainable().values(), policy.trainable().values(), strict=True)
        return sum(float((f * (a - b) ** 2).sum()) for f, a, b in pairs)

    assert moved(100.0) < moved(1.0) < moved(0.0)
