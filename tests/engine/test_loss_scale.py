"""The scale of float16's loss: taken off again, halved where it overflows, and in checkpoints."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from policies import RowsInMemory, files_of, language_rows
from torch import Tensor, nn

from luthier.data.batch import Batch, pack
from luthier.data.stream import Stream, packed
from luthier.engine.checkpoint import Checkpoints
from luthier.engine.loop import train
from luthier.engine.loss_scale import FIRST, LEAST, MOST, PATIENCE, scaled_loss
from luthier.engine.plan import Plan
from luthier.engine.report import Report
from luthier.engine.seams import Seams
from luthier.errors import TrainingError
from luthier.models.load import make_policy
from luthier.models.policy import Policy
from luthier.objectives import TABLE
from luthier.recipe import Adapter, Train
from luthier.recipe import Objective as Settings

SFT = TABLE["sft"](Settings(), False)
LORA = Adapter(lora_r=4, lora_alpha=8.0)


def plan_of(seams: Seams, rate: float = 1e-3) -> tuple[Plan, nn.Parameter]:
    weight = nn.Parameter(torch.ones(2))
    return Plan(Train(learning_rate=rate, warmup_ratio=0.0), {"weight": weight}, 5000, seams=seams), weight


def step(plan: Plan, weight: nn.Parameter, number: int, slope: float) -> dict[str, float]:
    """A step whose scaled gradient is `slope`."""
    weight.grad = torch.full((2,), slope)
    return plan.step(number)


def test_the_gradient_is_that_without_a_scale(tiny_llama: Path) -> None:
    found = []
    for seams in (Seams(), scaled_loss()):
        policy, batch = make_policy(files_of(tiny_llama), LORA, seed=1), pack(language_rows())
        plan = Plan(Train(learning_rate=1e-3, max_grad_norm=0), policy.trainable(), 4, seams=seams)
        told = []
        for number in range(4):
            list(plan.backward(policy, SFT, [batch], SFT.count(batch)))
            told.append(plan.step(number)["grad_norm"])
        found.append((told, torch.cat([p.detach().flatten() for p in policy.trainable().values()])))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-6)
    torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-6, atol=1e-8)


def test_what_others_do_after_the_backward_sees_no_scale() -> None:
    seen: list[float] = []
    other = Seams(after_backward=(lambda step, parameters: seen.append(float(parameters["weight"].grad[0])),))
    plan, weight = plan_of(scaled_loss().and_those_of(other))
    step(plan, weight, 0, 3 * FIRST)
    assert seen == [3.0]


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_step_that_overflows_is_left_out_and_halves_the_scale(bad: float) -> None:
    plan, weight = plan_of(scaled_loss())
    told = step(plan, weight, 0, bad)
    assert told == {"left_out": 1.0, "learning_rate": plan.rate(0)}
    assert weight.tolist() == [1.0, 1.0]
    assert weight.grad is None
    assert float(plan.seams.memory["loss_scale"]) == FIRST / 2
    assert step(plan, weight, 1, FIRST / 2)["grad_norm"] == pytest.approx(math.sqrt(2))
    assert weight[0] < 1


def test_what_overflows_at_the_least_scale_is_refused() -> None:
    plan, weight = plan_of(scaled_loss())
    falls = int(math.log2(FIRST / LEAST))
    for number in range(falls):
        assert "left_out" in step(plan, weight, number, math.inf)
    with pytest.raises(TrainingError, match=rf"the gradient of step {falls + 1} is inf"):
        step(plan, weight, falls, math.inf)
    assert weight.tolist() == [1.0, 1.0]


def test_a_long_run_of_whole_steps_doubles_it_up_to_a_limit() -> None:
    plan, weight = plan_of(scaled_loss(), rate=1e-9)
    scale = plan.seams.memory["loss_scale"]
    for number in range(PATIENCE - 1):
        step(plan, weight, number, 1.0)
    assert float(scale) == FIRST
    step(plan, weight, PATIENCE - 1, math.inf)
    assert float(scale) == FIRST / 2
    for number in range(PATIENCE):
        step(plan, weight, PATIENCE + number, 1.0)
    assert float(scale) == FIRST
    scale.fill_(MOST)
    plan.seams.memory["whole_steps"].fill_(PATIENCE)
    step(plan, weight, 0, 1.0)
    assert float(scale) == MOST


def losses(folder: Path, model: Path, stop: int | None = None) -> tuple[list[float], dict[str, Tensor]]:
    """Float16 steps of which one overflows, after which the scale is other than at the start."""
    policy: Policy = make_policy(replace(files_of(model), precision="float16"), LORA, seed=1)
    rows = RowsInMemory(language_rows())
    stream = Stream(packed(rows, 60), 6, 3, 18)
    seams = scaled_loss()
    plan = Plan(Train(learning_rate=1e-2), policy.trainable(), 6, seams=seams)
    if not list(folder.glob("step-*")):
        seams.memory["loss_scale"].fill_(2.0**40)
    seen: list[float] = []

    def note(report: Report, policy: Policy) -> Any:
        seen.append(report.metrics["loss"])
        return "paused" if report.step == stop else None

    train(policy, SFT, stream, plan, Checkpoints(folder, 100), [note])
    return seen, plan.state() | {name: p.detach() for name, p in policy.trainable().items()}


def test_a_resumed_fit_has_the_scale_and_ends_with_the_same_bits(tiny_llama: Path, tmp_path: Path) -> None:
    whole, wanted = losses(tmp_path / "a", tiny_llama)
    first, _ = losses(tmp_path / "b", tiny_llama, stop=3)
    rest, found = losses(tmp_path / "b", tiny_llama)
    assert first + rest == whole
    assert float(wanted["memory/loss_scale"]) < 2.0**40
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


def test_a_loss_that_is_not_finite_is_still_refused(tiny_llama: Path, tmp_path: Path) -> None:
    policy = make_policy(replace(files_of(tiny_llama), precision="float16"), LORA, seed=1)
    with torch.no_grad():
        policy.trunk.norm.weight.fill_(60000)  # beyond the largest number of float16

    def make(numbers: Any) -> list[Batch]:
        return [pack(language_rows())]

    plan = Plan(Train(learning_rate=1e-2), policy.trainable(), 1, seams=scaled_loss())
    with pytest.raises(TrainingError, match="rows is not finite"):
        train(policy, SFT, Stream(make, 6, 6, 6), plan, Checkpoints(tmp_path, 9))
