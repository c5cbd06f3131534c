"""Steps that are taken in the backward equal those of whole gradients, and hold none."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from policies import language_policy, language_rows
from test_resume import Memory, same, stop_at

from luthier.data.batch import Batch, pack
from luthier.data.stream import Stream, packed
from luthier.engine.checkpoint import Checkpoints
from luthier.engine.in_backward import InBackward
from luthier.engine.loop import train
from luthier.engine.plan import Plan
from luthier.engine.seams import Seams
from luthier.errors import TrainingError
from luthier.models.policy import Policy
from luthier.models.recompute import recompute_blocks
from luthier.objectives import TABLE
from luthier.recipe import Adapter, Train
from luthier.recipe import Objective as Settings

SFT = TABLE["sft"](Settings(), False)
FULL, STEPS = Adapter(type="full"), 5
SETTINGS = {"learning_rate": 1e-3, "max_grad_norm": 0.0, "weight_decay": 0.1}


def fit(
    model: Path, folder: Path, kind: type[Plan], every: int = 100, hooks: Any = (), again: bool = False, **settings: Any
) -> tuple[Policy, Plan, Any]:
    policy = language_policy(model, FULL, torch.float32)
    if again:
        recompute_blocks(policy.wrapped)
    rows = Memory(language_rows(shared=10))
    stream = Stream(packed(rows, 10_000, share_prefix=True), len(rows), 4, 4 * STEPS, 0, "rows")
    plan = kind(Train(**{**SETTINGS, **settings}), policy.trainable(), STEPS, seams=Seams())
    reported: list[dict[str, float]] = []
    look = [lambda report, policy: reported.append(dict(report.metrics)), *hooks]
    outcome = train(policy, SFT, stream, plan, Checkpoints(folder, every), look)
    return policy, plan, (outcome, reported)


@pytest.mark.parametrize("again", [False, True])
def test_the_steps_are_those_of_whole_gradients(tiny_llama: Path, tmp_path: Path, again: bool) -> None:
    whole = fit(tiny_llama, tmp_path / "a", Plan)
    single = fit(tiny_llama, tmp_path / "b", InBackward, again=again)
    assert same(single, whole)
    for ours, theirs in zip(single[2][1], whole[2][1], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6)
    assert whole[2][1][0]["grad_norm"] > 0.1


@pytest.mark.parametrize("step", [1, 3])
def test_resumed_equals_uninterrupted(tiny_llama: Path, tmp_path: Path, step: int) -> None:
    whole = fit(tiny_llama, tmp_path / "whole", InBackward)
    fit(tiny_llama, tmp_path / "parts", InBackward, hooks=[stop_at(step)])
    assert same(fit(tiny_llama, tmp_path / "parts", InBackward), whole)


def test_no_two_matrices_have_a_gradient_at_a_time(tiny_llama: Path) -> None:
    policy = language_policy(tiny_llama, FULL, torch.float32)
    learnt, most = policy.trainable(), []
    for parameter in learnt.values():  # registered first, so called before the step frees it
        parameter.register_post_accumulate_grad_hook(
            lambda _: most.append(sum(p.grad is not None for p in learnt.values()))
        )
    plan = InBackward(Train(**SETTINGS), learnt, 1, seams=Seams())  # type: ignore[arg-type]
    list(plan.backward(policy, SFT, [pack(language_rows())], {"nll": 9.0}))
    assert len(most) == len(learnt)
    assert set(most) == {1}
    assert all(parameter.grad is None for parameter in learnt.values())


def plan_on(model: Path) -> tuple[Policy, InBackward]:
    policy = language_policy(model, FULL, torch.float32)
    return policy, InBackward(Train(**SETTINGS), policy.trainable(), 1, seams=Seams())  # type: ignore[arg-type]


def test_several_micro_batches_are_refused(tiny_llama: Path) -> None:
    policy, plan = plan_on(tiny_llama)
    batches: list[Batch] = [pack(language_rows()[:2]), pack(language_rows()[2:])]
    with pytest.raises(TrainingError, match=r"step 1 has 2 micro-batches.*`train.batch_size` smaller"):
        list(plan.backward(policy, SFT, batches, {"nll": 1.0}))


def test_several_ranks_are_refused(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, plan = plan_on(tiny_llama)
    monkeypatch.setattr("luthier.engine.world.size", lambda: 2)
    with pytest.raises(TrainingError, match="2 ranks would each take steps of their own"):
        list(plan.backward(policy, SFT, [pack(language_rows())], {"nll": 1.0}))


def test_a_loss_that_is_not_finite_leaves_the_weights(tiny_llama: Path) -> None:
    policy, plan = plan_on(tiny_llama)
    before = {name: p.detach().clone() for name, p in policy.trainable().items()}
    (scored,) = plan.backward(policy, SFT, [pack(language_rows())], {"nll": math.nan})
    assert set(scored.terms) == {"nll"}
    assert all(torch.equal(p, before[name]) for name, p in policy.trainable().items())


def test_a_gradient_that_is_not_finite_ends_the_fit(tiny_llama: Path) -> None:
    policy, plan = plan_on(tiny_llama)
    norm = next(p for name, p in policy.trainable().items() if name.endswith("model.norm.weight"))
    norm.register_hook(lambda slope: slope * math.inf)
    list(plan.backward(policy, SFT, [pack(language_rows())], {"nll": 1.0}))
    with pytest.raises(TrainingError, match=r"gradient of step 1 is (nan|inf), and weights have changed"):
        plan.step(0)
