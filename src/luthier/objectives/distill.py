"""Distillation: the policy learns the whole distribution that a teacher gives each weighted token.

The divergence of each target is summed over the vocabulary, or over the teacher's k likeliest tokens and one bucket
for all others. Both softmaxes are at the same temperature T, and the result is multiplied by T², which keeps the size
of gradients (Hinton et al. 2015, arXiv:1503.02531, section 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from luthier.data.batch import Batch
from luthier.models.policy import Policy
from luthier.models.teacher import bucketed
from luthier.objectives.scored import Score, Scored
from luthier.recipe.types import Objective as Settings

Divergence = Callable[[Tensor, Tensor], Tensor]
"""(log-probabilities of the teacher, of the policy), both (n, K) → their divergence, (n,)."""


def forward_kl(teacher_nK: Tensor, policy_nK: Tensor) -> Tensor:
    """KL(teacher ‖ policy) = Σ p_t (log p_t - log p): the policy must cover all that the teacher would say."""
    return (teacher_nK.exp() * (teacher_nK - policy_nK)).sum(1)


def reverse_kl(teacher_nK: Tensor, policy_nK: Tensor) -> Tensor:
    """KL(policy ‖ teacher) = Σ p (log p - log p_t): the policy must say only what the teacher would."""
    return forward_kl(policy_nK, teacher_nK)


def jensen_shannon(teacher_nK: Tensor, policy_nK: Tensor, *, beta: float) -> Tensor:
    """β KL(teacher ‖ m) + (1 - β) KL(policy ‖ m), m = β · teacher + (1 - β) · policy, 0 < β < 1.

    The generalised Jensen-Shannon divergence (Agarwal et al. 2023, arXiv:2306.13649, equation 2).
    """
    mixed = torch.logaddexp(teacher_nK + math.log(beta), policy_nK + math.log1p(-beta))
    return beta * forward_kl(teacher_nK, mixed) + (1 - beta) * forward_kl(policy_nK, mixed)


def distill(
    policy: Policy, batch: Batch, *, teacher: Policy, divergence: Divergence, temperature: float = 1.0,
    vocabulary: int | None = None,
) -> Scored:  # fmt: skip
    """Σ w · T² · D(teacher, policy), by row, from a teacher that reads the same batch and gets no gradient.

    Both know the same tokens. Where output layers are padded to different sizes, the softmax is over the first
    `vocabulary` of their logits.
    """
    with torch.no_grad():
        taught_NH = teacher.hidden(batch, batch.source_N)[batch.source_N]

    def of_logits(rows: slice, logits: Tensor) -> Tensor:
        with torch.no_grad():
            taught = teacher.vocab_logits(taught_NH[rows]).to(logits.dtype)
        pair = (F.log_softmax(each[:, :vocabulary] / temperature, 1) for each in (taught, logits))
        return divergence(*pair) * temperature**2

    return _scored(policy, batch, of_logits)


def distill_stored(
    policy: Policy, batch: Batch, *, divergence: Divergence, temperature: float = 1.0, vocabulary: int | None = None
) -> Scored:
    """The same from target columns `teacher_ids` (N, k) and `teacher_logprobs` (N, k + 1) of `models.teacher`.

    Both distributions are over k + 1 outcomes: the teacher's k likeliest tokens, and any other token.
    """
    ids_Nk, taught_NK = batch.target_column("teacher_ids").long(), batch.target_column("teacher_logprobs")

    def of_logits(rows: slice, logits: Tensor) -> Tensor:
        own = bucketed(F.log_softmax(logits[:, :vocabulary] / temperature, 1), ids_Nk[rows])
        return divergence(taught_NK[rows].to(own.dtype), own) * temperature**2

    return _scored(policy, batch, of_logits)


def _scored(policy: Policy, batch: Batch, of_logits: Callable[[slice, Tensor], Tensor]) -> Scored:
    return Scored({"divergence": batch.by_row(policy.from_logits(batch, of_logits) * batch.weight_N)}, {})


def scorer(settings: Settings, teacher: Policy | None, vocabulary: int | None) -> Score:
    """As the recipe has it: from `teacher`, or from stored columns where there is none."""
    named: dict[str, Divergence] = {
        "forward_kl": forward_kl,
        "reverse_kl": reverse_kl,
        "js": partial(jensen_shannon, beta=settings.jsd_beta),
    }
    how: dict[str, Any] = {"divergence": named[settings.divergence], "temperature": settings.temperature,
                           "vocabulary": vocabulary}  # fmt: skip
    return partial(distill_stored, **how) if teacher is None else partial(distill, teacher=teacher, **how)
