"""How a gradient becomes a step."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from policies import batch_maker, language_policy, language_rows
from torch import Tensor, nn

from luthier.data.batch import Batch, unpacked
from luthier.engine.plan import Plan
from luthier.errors import TrainingError
from luthier.objectives import TABLE, Objective, Scored
from luthier.recipe import Objective as Settings
from luthier.recipe import Train

CONSTANT = {"lr_scheduler": "constant", "warmup_ratio": 0.0}


def parameters() -> dict[str, nn.Parameter]:
    return {"matrix": nn.Parameter(torch.arange(1.0, 7).view(2, 3)), "vector": nn.Parameter(torch.tensor([2.0, -1.0]))}


def plan_of(learnt: dict[str, nn.Parameter], steps: int = 10, lanes: int = 1, **settings: Any) -> Plan:
    return Plan(Train(**{"learning_rate": 0.1, "weight_decay": 0.0, **CONSTANT, **settings}), learnt, steps, lanes)


def slopes(learnt: dict[str, nn.Parameter], scale: float = 1.0) -> None:
    for parameter in learnt.values():
        parameter.grad = scale * torch.arange(1.0, 1 + parameter.numel()).view_as(parameter)


def values(learnt: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in learnt.items()}


def adamw(start: Tensor, gradients: list[Tensor], rate: float, decay: float) -> Tensor:
    """AdamW as algorithm 2 of arXiv:1711.05101 has it, with the decay times the rate."""
    value, first, second = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for step, gradient in enumerate(gradients, 1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        update = first / (1 - 0.9**step) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
        value = value - rate * update - rate * decay * value
    return value


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_a_step_is_that_of_adamw_with_decay_on_matrices_only(decay: float) -> None:
    learnt, start = parameters(), values(parameters())
    plan = plan_of(learnt, weight_decay=decay, max_grad_norm=0.0)
    for step, scale in enumerate((1.0, -2.0, 0.5)):
        slopes(learnt, scale)
        plan.step(step)
    for name, parameter in learnt.items():
        unit = torch.arange(1.0, 1 + parameter.numel()).view_as(parameter)
        wanted = adamw(start[name], [unit, -2 * unit, 0.5 * unit], 0.1, decay if name == "matrix" else 0.0)
        torch.testing.assert_close(parameter.detach(), wanted)


def test_weights_decay_without_a_slope_and_vectors_do_not() -> None:
    learnt, start = parameters(), values(parameters())
    plan = plan_of(learnt, weight_decay=0.5)
    slopes(learnt, 0.0)
    plan.step(0)
    torch.testing.assert_close(learnt["matrix"].detach(), start["matrix"] * (1 - 0.1 * 0.5))
    assert torch.equal(learnt["vector"], start["vector"])


def test_the_norm_is_clipped_over_all_parameters_and_told_as_it_was() -> None:
    learnt = parameters()
    norm = math.sqrt(sum(n * n for n in (1, 2, 3, 4, 5, 6, 1, 2)))
    plan = plan_of(learnt, max_grad_norm=2.0)
    slopes(learnt)
    assert plan.step(0)["grad_norm"] == pytest.approx(norm)
    moments = [plan.optimizer.state[p]["exp_avg"] for p in learnt.values()]
    clipped = math.sqrt(sum(float((m / 0.1).square().sum()) for m in moments))
    assert clipped == pytest.approx(2.0, rel=1e-5)
    assert float(moments[0][0, 1] / moments[0][0, 0]) == pytest.approx(2.0)


@pytest.mark.parametrize(("limit", "scale"), [(2.0, 0.01), (0.0, 100.0)])
def test_a_short_gradient_is_not_stretched_and_a_limit_of_0_is_none(limit: float, scale: float) -> None:
    learnt = parameters()
    plan = plan_of(learnt, max_grad_norm=limit)
    slopes(learnt, scale)
    plan.step(0)
    first = plan.optimizer.state[learnt["vector"]]["exp_avg"]
    torch.testing.assert_close(first, 0.1 * scale * torch.tensor([1.0, 2.0]))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_leaves_weights_and_optimizer_untouched(bad: float) -> None:
    learnt = parameters()
    plan = plan_of(learnt)
    slopes(learnt)
    plan.step(0)
    before, moments = values(learnt), {name: value.clone() for name, value in plan.state().items()}
    slopes(learnt)
    learnt["vector"].grad[1] = bad
    with pytest.raises(TrainingError, match=rf"gradient of step 2 is {bad}"):
        plan.step(1)
    assert all(torch.equal(learnt[name], before[name]) for name in before)
    assert moments.keys() == plan.state().keys()
    assert all(torch.equal(value, moments[name]) for name, value in plan.state().items())


def test_the_rate_follows_the_schedule_and_gradients_are_cleared() -> None:
    learnt = parameters()
    plan = plan_of(learnt, steps=4, lr_scheduler="linear", warmup_ratio=0.5)
    rates = []
    for step in range(4):
        slopes(learnt)
        rates.append(plan.step(step)["learning_rate"])
        assert all(parameter.grad is None for parameter in learnt.values())
    assert rates == pytest.approx([0.05, 0.1, 0.1, 0.05])


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_gradients_of_micro_batches_add_up_whoever_is_faster(lanes: int) -> None:
    learnt = parameters()
    plan = plan_of(learnt, lanes=lanes)
    batches = [row_batch(number) for number in range(5)]

    def score(policy: object, batch: Batch) -> Scored:
        number = int(batch.numbers_R[0])
        time.sleep(0.01 * (number == 0))
        return Scored({"a": (number * learnt["matrix"].sum())[None], "b": (learnt["vector"] ** 2).sum()[None]}, {})

    objective = Objective(score, {"a": lambda batch: 1.0, "b": lambda batch: 0.0})  # type: ignore[arg-type]
    scored = list(plan.backward(None, objective, batches, {"a": 5.0, "b": 0.0}))  # type: ignore[arg-type]
    assert [float(one.terms["a"]) for one in scored] == [number * 21.0 for number in range(5)]
    assert learnt["matrix"].grad.flatten().tolist() == pytest.approx([(0 + 1 + 2 + 3 + 4) / 5] * 6)
    assert learnt["vector"].grad.tolist() == pytest.approx([5 * 2 * 2.0, 5 * 2 * -1.0])


def test_lanes_give_the_same_step_bit_for_bit(tiny_llama: Path) -> None:
    found = []
    for lanes in (1, 2):
        policy = language_policy(tiny_llama, dtype=torch.float32)
        plan = plan_of(policy.trainable(), lanes=lanes)
        batches = [batch_maker(language_rows())([number]) for number in range(6)]
        for _ in plan.backward(policy, TABLE["sft"](Settings(), False), batches, {"nll": 60.0}):
            pass
        found.append([parameter.grad for parameter in policy.trainable().values()])
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def row_batch(number: int) -> Batch:
    return unpacked(np.array([number]), np.full(5, 3), {})


def test_what_has_no_gradient_stays_as_it_is() -> None:
    learnt, start = parameters(), values(parameters())
    plan = plan_of(learnt, weight_decay=0.5)
    learnt["vector"].grad = torch.ones(2)
    plan.step(0)
    assert torch.equal(learnt["matrix"], start["matrix"])
    assert {name.partition("/")[0] for name in plan.state()} == {"vector"}


def test_a_plan_that_was_put_back_goes_on_as_the_first() -> None:
    learnt = parameters()
    plan = plan_of(learnt)
    slopes(learnt)
    plan.step(0)
    other = parameters()
    with torch.no_grad():
        for name, parameter in other.items():
            parameter.copy_(learnt[name])
    again = plan_of(other)
    again.restore(plan.state())
    for one, its in ((plan, learnt), (again, other)):
        slopes(its, 3.0)
        one.step(1)
    assert all(torch.equal(learnt[name], other[name]) for name in learnt)
