"""Answers as a stream: the same for the same seed, learnt as they were drawn, and gone on with where it was left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from policies import files_of

from luthier.data.batch import Batch
from luthier.data.stream import Stream
from luthier.engine.checkpoint import PAUSED, Checkpoints
from luthier.engine.loop import train
from luthier.engine.plan import Plan
from luthier.engine.rollouts import Rollouts
from luthier.errors import TrainingError
from luthier.models.load import make_policy
from luthier.models.policy import Policy
from luthier.objectives import TABLE
from luthier.recipe import Adapter, Objective, Train

STEPS, STOP = 6, 2
PROMPTS = [np.random.default_rng(n).integers(5, 300, 10 + n).tolist() for n in range(5)]


def even(number: int, ids: Sequence[int]) -> float:
    """The share of even ids: something that a model of two layers can learn."""
    return sum(index % 2 == 0 for index in ids) / len(ids)


def settings(**changes: Any) -> Objective:
    return Objective(**{"type": "grpo", "num_generations": 4, **changes})


def policy_for(model: Path, how: Objective, adapter: Adapter = Adapter(lora_r=4)) -> Policy:
    policy = make_policy(files_of(model), adapter, seed=1)
    if how.type == "ppo":
        policy.value_head = torch.nn.Linear(policy.lm_head.in_features, 1)  # type: ignore[union-attr]
        torch.nn.init.zeros_(policy.value_head.weight)
        torch.nn.init.zeros_(policy.value_head.bias)
    return policy


def source(
    policy: Policy, how: Objective, seed: int = 0, lanes: int = 1, budget: int = 60, longest: int = 6
) -> Rollouts:
    order = Stream(lambda numbers: [], len(PROMPTS), 2, 1000, seed, "prompts")
    return Rollouts(policy, order, PROMPTS, [1.0, 2.0, 1.0, 1.0, 1.0], even, how, longest, [STOP], budget, lanes)


def same(left: Sequence[Batch], right: Sequence[Batch]) -> bool:
    pairs = list(zip(left, right, strict=True))
    return all(
        torch.equal(a.ids_T, b.ids_T)
        and torch.equal(a.weight_N, b.weight_N)
        and all(
            torch.equal(a.target_columns[name], b.target_columns[name]) for name in a.target_columns | b.target_columns
        )
        and all(torch.equal(a.columns[name], b.columns[name]) for name in a.columns | b.columns)
        for a, b in pairs
    )


def test_a_rollout_depends_on_seed_step_and_weights_alone(tiny_llama: Path) -> None:
    how = settings()
    policy = policy_for(tiny_llama, how)
    first = source(policy, how).take(3)
    torch.manual_seed(5)
    assert same(source(policy, how).take(3), first)
    assert not same(source(policy, how).take(4), first)
    assert not same(source(policy, how, seed=1).take(3), first)


def test_answers_to_one_prompt_share_it_and_every_token_of_them_is_learnt(tiny_llama: Path) -> None:
    how = settings()
    rollouts = source(policy_for(tiny_llama, how), how, budget=1000)
    (batch,) = rollouts.take(0)
    assert rollouts.rollout is not None
    answers = rollouts.rollout.answers
    assert (
        batch.numbers_R.tolist() == rollouts.rollout.asked == [n for n in rollouts.order.numbers(0) for _ in range(4)]
    )
    assert batch.target_N.tolist() == [index for answer in answers for index in answer]
    assert sum(segment.parent is None for segment in batch.segments) == 2
    assert [answer[-1] != STOP for answer in answers] == batch.column("truncated").tolist()
    assert all(STOP not in answer[:-1] and 1 <= len(answer) <= 6 for answer in answers)
    assert batch.column("reward").tolist() == pytest.approx([even(0, answer) for answer in answers])


def test_advantages_are_those_of_the_groups(tiny_llama: Path) -> None:
    how = settings(scale_rewards=False)
    batches = source(policy_for(tiny_llama, how), how).take(0)
    assert len(batches) > 1
    for batch in batches:
        rewards, own = batch.column("reward"), batch.target_column("advantage")
        for row, number in enumerate(batch.numbers_R.tolist()):
            group = [b.column("reward")[b.numbers_R == number] for b in batches]
            expected = rewards[row] - torch.cat(group).mean()
            torch.testing.assert_close(
                own[batch.row_N == row], expected.expand(int(batch.column("answer_tokens")[row]))
            )


@pytest.mark.parametrize(("loss_type", "total"), [("grpo", 1.0), ("dr_grpo", None), ("dapo", None)])
def test_an_answer_weighs_what_the_loss_type_says(tiny_llama: Path, loss_type: Any, total: float | None) -> None:
    how = settings(loss_type=loss_type)
    for batch in source(policy_for(tiny_llama, how), how).take(0):
        own = {"dapo": batch.column("answer_tokens"), "dr_grpo": batch.column("answer_tokens") / 6}.get(
            loss_type, total
        )
        torch.testing.assert_close(batch.by_row(batch.weight_N), own * batch.column("row_weight"))


@pytest.mark.parametrize("adapter", ["lora", "full"])
@pytest.mark.parametrize("how", [settings(num_iterations=2, kl_coef=0.1), settings(type="ppo", kl_coef=0.1)])
@pytest.mark.parametrize("lanes", [1, 2])
def test_the_ratio_is_exactly_1_at_the_first_step(tiny_llama: Path, adapter: Any, how: Objective, lanes: int) -> None:
    policy = policy_for(tiny_llama, how, Adapter(type=adapter))
    policy.train()
    batches = source(policy, how, lanes=lanes).take(0)
    objective = TABLE[how.type](how, False)
    units = {name: sum(objective.count(batch)[name] for batch in batches) for name in objective.units}
    plan = Plan(Train(learning_rate=1.0), policy.trainable(), 1, lanes)
    seen = []

    def gradient(policy: Policy, objective: Any, batch: Batch, *rest: Any) -> Any:
        seen.append((policy.logprobs(batch, temperature=how.temperature) - batch.target_column("old_logp")).exp())
        return plain(policy, objective, batch, *rest)

    plain, plan.seams = plan.seams.gradient, type(plan.seams)(gradient=gradient)
    scored = list(plan.backward(policy, objective, batches, units))
    assert all(bool((ratio == 1).all()) for ratio in seen)
    assert all(bool((one.terms["penalty"] == 0).all()) for one in scored)
    assert sum(len(ratio) for ratio in seen) == sum(len(batch.row_N) for batch in batches)


def test_the_reference_stays_the_policy_of_step_0(tiny_llama: Path) -> None:
    """Also where all weights are trained, and no adapter could be switched off."""
    how = settings(kl_coef=0.1)
    policy = policy_for(tiny_llama, how, Adapter(type="full"))
    rollouts = source(policy, how)
    fresh = policy_for(tiny_llama, how)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.add_(0.01 * torch.ones_like(parameter))
    moved = {name: parameter.clone() for name, parameter in policy.trainable().items()}
    for batch in rollouts.take(0):
        with fresh.evaluating():
            assert torch.equal(fresh.logprobs(batch), batch.target_column("reference_logp"))
        assert not torch.equal(policy.logprobs(batch), batch.target_column("reference_logp"))
    assert all(torch.equal(parameter, moved[name]) for name, parameter in policy.trainable().items())


def test_the_values_of_ppo_become_returns(tiny_llama: Path) -> None:
    how = settings(type="ppo", num_generations=2, lam=1.0)
    for batch in source(policy_for(tiny_llama, how), how).take(0):
        torch.testing.assert_close(batch.target_column("return"), batch.column("reward")[batch.row_N])


def test_an_answer_longer_than_the_budget_stands_alone(tiny_llama: Path) -> None:
    how = settings()
    batches = source(policy_for(tiny_llama, how), how, budget=5).take(0)
    assert [batch.rows for batch in batches] == [1] * 8


def fit(model: Path, folder: Path, how: Objective, until: int | None = None, seed: int = 0) -> tuple[Policy, Plan]:
    policy = policy_for(model, how)
    plan = Plan(Train(learning_rate=1e-2), policy.trainable(), STEPS)
    stop = [lambda report, policy: PAUSED if report.step == until else None]
    train(policy, TABLE[how.type](how, False), source(policy, how, seed), plan, Checkpoints(folder, 100), stop)
    return policy, plan


@pytest.mark.parametrize("how", [
    settings(), settings(num_iterations=3, kl_coef=0.1), settings(type="ppo", num_iterations=2, kl_coef=0.1),
], ids=["grpo", "grpo, three steps a rollout", "ppo"])  # fmt: skip
@pytest.mark.parametrize("step", [2, 3])
def test_resumed_equals_uninterrupted(tiny_llama: Path, tmp_path: Path, how: Objective, step: int) -> None:
    """At step 2 the rollout of three steps is in use, at step 3 that of two."""
    whole = fit(tiny_llama, tmp_path / "whole", how)
    fit(tiny_llama, tmp_path / "parts", how, until=step)
    resumed = fit(tiny_llama, tmp_path / "parts", how)
    for (name, a), b in zip(whole[0].trainable().items(), resumed[0].trainable().values(), strict=True):
        assert torch.equal(a, b), name
    left, right = whole[1].state(), resumed[1].state()
    assert all(torch.equal(left[key], right[key]) for key in left.keys() | right.keys())


def test_the_buffer_is_plain_numbers_that_make_the_same_batches(tiny_llama: Path) -> None:
    how = settings(type="ppo", num_iterations=2, kl_coef=0.1)
    policy = policy_for(tiny_llama, how)
    rollouts, other = source(policy, how), source(policy, how)
    first = rollouts.take(0)
    other.restore(json.loads(json.dumps(rollouts.state())))
    assert same(other.take(1), first)
    assert same(rollouts.take(1), first)


def test_other_prompts_under_a_checkpoint_are_refused(tiny_llama: Path, tmp_path: Path) -> None:
    fit(tiny_llama, tmp_path, settings(), until=2)
    with pytest.raises(TrainingError, match="another seed"):
        fit(tiny_llama, tmp_path, settings(), seed=3)


@pytest.mark.slow
@pytest.mark.parametrize("how", [settings(num_generations=8), settings(type="ppo", num_generations=8)])
def test_what_is_rewarded_becomes_likelier(tiny_llama: Path, tmp_path: Path, how: Objective) -> None:
    policy = policy_for(tiny_llama, how, Adapter(type="full"))
    plan = Plan(Train(learning_rate=1e-2, lr_scheduler="constant"), policy.trainable(), 30)
    rewards: list[float] = []
    train(
        policy, TABLE[how.type](how, False), source(policy, how), plan, Checkpoints(tmp_path, 100),
        [lambda report, policy: rewards.append(report.metrics["reward"])],
    )  # fmt: skip
    assert np.mean(rewards[:3]) < 0.6
    assert np.mean(rewards[-3:]) > 0.9
