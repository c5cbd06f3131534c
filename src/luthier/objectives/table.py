"""Every objective by the name that recipes use."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from luthier.models.policy import Policy
from luthier.objectives.classify import classify, classify_multi, rows
from luthier.objectives.distill import scorer
from luthier.objectives.dpo import dpo, pairs
from luthier.objectives.policy_gradient import policy_gradient, terms
from luthier.objectives.reward import reward
from luthier.objectives.scored import Objective, tokens
from luthier.objectives.sft import sft
from luthier.recipe.types import Objective as Settings

Build = Callable[..., Objective]
"""(the recipe's settings, whether rows have several labels, by name what else it is handed) → the objective."""


def _classify(settings: Settings, multi_label: bool) -> Objective:
    score = classify_multi if multi_label else classify
    return Objective(partial(score, label_smoothing=settings.label_smoothing), {"cross_entropy": rows})


def _distill(
    settings: Settings, multi_label: bool, teacher: Policy | None = None, vocabulary: int | None = None
) -> Objective:
    return Objective(scorer(settings, teacher, vocabulary), {"divergence": tokens})


def _policy_gradient(settings: Settings, multi_label: bool) -> Objective:
    vf_coef = settings.vf_coef if settings.type == "ppo" else 0.0
    score = partial(policy_gradient, epsilon=settings.epsilon, kl_coef=settings.kl_coef, vf_coef=vf_coef,
                    temperature=settings.temperature)  # fmt: skip
    count = rows if settings.loss_type == "dr_grpo" else tokens
    return Objective(score, terms(count, settings.kl_coef, vf_coef))


def _dpo(settings: Settings, multi_label: bool) -> Objective:
    score = partial(dpo, beta=settings.beta, label_smoothing=settings.label_smoothing)
    return Objective(score, {"preference": pairs})


TABLE: dict[str, Build] = {
    "sft": lambda settings, multi_label: Objective(sft, {"nll": tokens}),
    "pretrain": lambda settings, multi_label: Objective(sft, {"nll": tokens}),
    "classify": _classify,
    "distill": _distill,
    "grpo": _policy_gradient,
    "ppo": _policy_gradient,
    "dpo": _dpo,
    "reward": lambda settings, multi_label: Objective(reward, {"preference": pairs}),
}
