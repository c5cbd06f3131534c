"""Advantages against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from luthier.engine.advantages import generalised_advantages, group_advantages, whitened


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.99, 0.0)])
def test_generalised_advantages_equal_the_sum_they_are_defined_by(gamma: float, lam: float) -> None:
    values, reward = np.random.default_rng(0).normal(size=9), 0.7
    rewards = np.r_[np.zeros(8), reward]
    after = np.r_[values[1:], 0.0]
    delta = rewards + gamma * after - values
    naive = [sum((gamma * lam) ** (k - t) * delta[k] for k in range(t, 9)) for t in range(9)]
    assert generalised_advantages(values.tolist(), reward, gamma, lam) == pytest.approx(naive, rel=1e-12)


def test_with_lambda_1_an_advantage_is_the_reward_to_come_less_the_value() -> None:
    assert generalised_advantages([0.25, 0.5, -1.0], 2.0, 1.0, 1.0) == pytest.approx([1.75, 1.5, 3.0])


def test_answers_are_compared_with_those_to_the_same_prompt() -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [5.0, 5.0, 5.0, 5.0]])
    assert group_advantages(rewards, scale=False).tolist() == [[0.5, -0.5, -0.5, 0.5], [0.0] * 4]
    scaled = group_advantages(rewards, scale=True)
    spread = np.std([1, 0, 0, 1], ddof=1)
    assert scaled[0].tolist() == pytest.approx([0.5 / (spread + 1e-4) * sign for sign in (1, -1, -1, 1)])
    assert scaled[1].tolist() == [0.0] * 4


def test_whitened_values_have_mean_0_and_spread_1() -> None:
    found = whitened(torch.tensor([3.0, 5.0, 10.0, -2.0]))
    assert float(found.mean()) == pytest.approx(0, abs=1e-6)
    assert float(found.std(correction=0)) == pytest.approx(1, abs=1e-3)
    assert whitened(torch.full((3,), 2.0)).tolist() == [0.0] * 3
