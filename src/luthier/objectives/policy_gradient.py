"""Policy gradients on answers that the policy wrote itself: GRPO and PPO differ in where the advantages come from.

Batches come from `engine.rollouts`. Columns of the targets: `advantage` (N,); `old_logp` (N,), the log-probability
at which a token was drawn, left out where it is that of this very step; `reference_logp` (N,) where a penalty is asked
for; `return` (N,) where values are learnt. What is reported of an answer stands in columns of the rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from luthier.data.batch import Batch
from luthier.models.policy import Policy
from luthier.objectives.scored import Count, Scored

REPORTED = ("reward", "reward_std", "no_signal", "truncated", "answer_tokens")
"""`reward_std`: among the answers to one prompt; `no_signal`: whether these all earned the same (GRPO)."""


def policy_gradient(
    policy: Policy,
    batch: Batch,
    *,
    epsilon: float,
    kl_coef: float = 0.0,
    vf_coef: float = 0.0,
    temperature: float = 1.0,
) -> Scored:
    """Terms by row, each a sum over the tokens t of an answer with their weights w_t:

    `policy`: -w_t min(ρ_t A_t, clip(ρ_t, 1 - ε, 1 + ε) A_t), where ρ_t = π(t) / π_old(t) (Schulman et al. 2017,
    arXiv:1707.06347, equation 7). `penalty`, where `kl_coef` is above 0: w_t kl_coef (x_t - ln x_t - 1), where
    x_t = π_ref(t) / π(t), an unbiased estimate of KL(π ‖ π_ref) that is never negative (Schulman 2020, "Approximating
    KL divergence"). `value`, where `vf_coef` is above 0: w_t vf_coef ½ (V_t - R_t)². It is not clipped, which
    was found to hurt (Andrychowicz et al. 2020, arXiv:2006.05990).
    """
    hidden = policy.hidden(batch, batch.source_N)
    logp = policy.logprobs(batch, hidden, temperature)
    old = batch.target_columns.get("old_logp", logp.detach())
    ratio, advantage = (logp - old).exp(), batch.target_column("advantage")
    clipped = ratio.clamp(1 - epsilon, 1 + epsilon) * advantage
    losses = {"policy": -torch.minimum(ratio * advantage, clipped)}
    metrics = {name: batch.column(name) for name in REPORTED if name in batch.columns}
    metrics |= {"clipped": clipped < ratio * advantage, "entropy": -old}
    if kl_coef:
        metrics["kl"] = kl = _k3(batch.target_column("reference_logp") - logp)
        losses["penalty"] = kl_coef * kl
    if vf_coef:
        wrong = policy.values(batch, hidden) - batch.target_column("return")
        losses["value"] = vf_coef * wrong.square() / 2
    return Scored({name: batch.by_row(loss * batch.weight_N) for name, loss in losses.items()}, metrics)


def terms(count: Count, kl_coef: float, vf_coef: float) -> dict[str, Count]:
    """The terms that there are, all in the same units."""
    return {"policy": count} | ({"penalty": count} if kl_coef else {}) | ({"value": count} if vf_coef else {})


def _k3(log_x: Tensor) -> Tensor:
    return log_x.expm1() - log_x
