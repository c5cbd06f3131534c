"""AdaLoRA's ranks: as PEFT's allocator deals them out, and at the end as many as were asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.adalora.layer import RankAllocator
from policies import files_of, language_rows

from luthier.data.batch import pack
from luthier.engine.adapter_seams import adapter_seams
from luthier.engine.plan import Plan
from luthier.engine.ranks import Budget, orthogonal
from luthier.engine.seams import Seams
from luthier.models.load import load_policy, make_policy, save_policy
from luthier.models.policy import Policy
from luthier.objectives import TABLE
from luthier.recipe import Adapter, Train
from luthier.recipe import Objective as Settings

SFT = TABLE["sft"](Settings(), False)
ADAPTER = Adapter(type="adalora", init_r=4, target_r=2)
STEPS = 10
ROWS = language_rows()
Kept = dict[str, list[bool]]
Look = Callable[[int, Policy], None]


def fit(folder: Path, steps: int = STEPS, look: Look = lambda step, policy: None) -> tuple[Policy, list[Kept]]:
    """The policy after `steps`, and what was kept of it after each; `look` sees weights and gradients before."""
    policy = make_policy(files_of(folder), ADAPTER, seed=1)
    looking = Seams(after_step=(lambda step, parameters: look(step + 1, policy),))
    seams = looking.and_those_of(adapter_seams(policy, ADAPTER, steps))
    plan, batch, after = Plan(Train(learning_rate=1e-2), policy.trainable(), steps, seams=seams), pack(ROWS), []
    for step in range(steps):
        list(plan.backward(policy, SFT, [batch], SFT.count(batch)))
        plan.step(step)
        after.append(kept(policy))
    return policy, after


def kept(policy: Policy) -> Kept:
    return {n: (p != 0).flatten().tolist() for n, p in policy.trainable().items() if "lora_E" in n}


def test_the_ranks_are_those_of_pefts_allocator(tiny_llama: Path) -> None:
    """It is shown the same weights and gradients, on a model of its own."""
    other: Any = make_policy(files_of(tiny_llama), ADAPTER, seed=1)
    allocators: list[RankAllocator] = []
    theirs: list[Kept] = []

    def look(step: int, policy: Any) -> None:
        settings = policy.wrapped.peft_config["default"]
        with torch.no_grad():
            for ours, its in zip(policy.trainable().values(), other.trainable().values(), strict=True):
                its.copy_(ours)
                its.grad = ours.grad.clone()
        if not allocators:
            allocators.append(RankAllocator(other.wrapped.base_model.model, settings, "default"))
        last = settings.total_step - settings.tfinal
        if step <= last:
            allocators[0].update_and_allocate(other.wrapped.base_model.model, step, force_mask=step == last)
            theirs.append(kept(other))

    _, ours = fit(tiny_llama, look=look)
    assert len(theirs) == 7
    assert ours[:7] == theirs
    assert ours[7:] == [theirs[-1]] * 3
    assert sum(map(sum, theirs[-1].values())) == ADAPTER.target_r * len(theirs[-1])


def test_the_ranks_that_are_left_are_those_of_the_budget(tiny_llama: Path, tmp_path: Path) -> None:
    policy, _ = fit(tiny_llama)
    left = [sum(pattern) for pattern in kept(policy).values()]
    assert sum(left) == ADAPTER.target_r * len(left)
    assert len(set(left)) > 1
    files = files_of(tiny_llama)
    save_policy(policy, tmp_path, files)
    again, batch = load_policy(files, tmp_path), pack(ROWS)
    shapes = {tuple(p.shape) for name, p in again.wrapped.named_parameters() if "lora_E" in name}
    assert shapes == {(rank, 1) for rank in left}
    with policy.evaluating(), again.evaluating():
        torch.testing.assert_close(again.logprobs(batch), policy.logprobs(batch), rtol=1e-5, atol=1e-5)
    settings = again.wrapped.peft_config["default"]
    assert (settings.total_step, settings.tinit, settings.tfinal) == (10, 1, 3)


@pytest.mark.parametrize(("step", "left"), [(1, 40), (3, 40), (5, 22), (8, 20), (20, 20)])
def test_the_budget_falls_as_a_cubic(step: int, left: int) -> None:
    assert Budget(first=40, last=20, begin=3, end=8).at(step) in (left, left + 2)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_even_a_short_fit_keeps_ranks(tiny_llama: Path, steps: int) -> None:
    _, after = fit(tiny_llama, steps)
    assert sum(map(sum, after[-1].values())) >= ADAPTER.target_r * len(after[-1])


def test_the_penalty_is_the_gradient_of_pefts(tiny_llama: Path) -> None:
    policy = make_policy(files_of(tiny_llama), ADAPTER, seed=1)
    policy.wrapped.to(torch.float64)
    learnt = {name: p for name, p in policy.trainable().items() if "lora_" in name}
    matrices = {name: p for name, p in learnt.items() if "lora_E" not in name}
    costs = []
    for name, p in matrices.items():
        square = p @ p.T if "lora_A" in name else p.T @ p
        costs.append(torch.norm(square - torch.eye(4, dtype=p.dtype), p="fro"))
    wanted = torch.autograd.grad(0.5 * sum(costs) / len(costs), list(matrices.values()))
    orthogonal(learnt, 0.5)
    for slope, p in zip(wanted, matrices.values(), strict=True):
        torch.testing.assert_close(p.grad, slope, rtol=1e-10, atol=1e-12)
    assert all(p.grad is None for name, p in learnt.items() if "lora_E" in name)
