"""How much better an answer, or a token of it, was than expected."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

SMALL = 1e-4
"""Keeps a division by a spread of 0 finite."""


def group_advantages(rewards_PG: Tensor, scale: bool) -> Tensor:
    """What each of G answers to one prompt earned above their mean, (P, G); with `scale`, in standard deviations.

    Group-relative advantages: Shao et al. 2024, arXiv:2402.03300, section 4.1.2. Without `scale`, prompts whose
    answers hardly differ do not count more than others: Liu et al. 2025, arXiv:2503.20783, section 3.
    """
    above = rewards_PG - rewards_PG.mean(1, keepdim=True)
    return above / (rewards_PG.std(1, keepdim=True) + SMALL) if scale else above


def generalised_advantages(values_T: Sequence[float], reward: float, gamma: float, lam: float) -> list[float]:
    """A_t = Σ_l (γλ)^l δ_{t+l} with δ_t = r_t + γ V_{t+1} - V_t, for the T tokens of one answer.

    The answer earns its reward with its last token, after which nothing is expected (V_T = 0). Schulman et al. 2015,
    arXiv:1506.02438, equation 16. A_t + V_t is what V_t should have been.
    """
    advantages, after, ahead = [0.0] * len(values_T), 0.0, 0.0
    for place in reversed(range(len(values_T))):
        earned = reward if place == len(values_T) - 1 else 0.0
        ahead = earned + gamma * after - values_T[place] + gamma * lam * ahead
        advantages[place], after = ahead, values_T[place]
    return advantages


def whitened(values_N: Tensor) -> Tensor:
    """The same values with mean 0 and standard deviation 1."""
    return (values_N - values_N.mean()) / (values_N.std(correction=0) + SMALL)
