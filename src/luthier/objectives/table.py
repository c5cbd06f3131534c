"""Every objective by the name that recipes use."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from luthier.objectives.classify import classify, classify_multi, rows
from luthier.objectives.dpo import dpo, pairs
from luthier.objectives.reward import reward
from luthier.objectives.scored import Objective, tokens
from luthier.objectives.sft import sft
from luthier.recipe.types import Objective as Settings

Build = Callable[[Settings, bool], Objective]
"""(the recipe's settings, whether rows have several labels) → the objective."""


def _classify(settings: Settings, multi_label: bool) -> Objective:
    score = classify_multi if multi_label else classify
    return Objective(partial(score, label_smoothing=settings.label_smoothing), {"cross_entropy": rows})


def _dpo(settings: Settings, multi_label: bool) -> Objective:
    score = partial(dpo, beta=settings.beta, label_smoothing=settings.label_smoothing)
    return Objective(score, {"preference": pairs})


TABLE: dict[str, Build] = {
    "sft": lambda settings, multi_label: Objective(sft, {"nll": tokens}),
    "pretrain": lambda settings, multi_label: Objective(sft, {"nll": tokens}),
    "classify": _classify,
    "dpo": _dpo,
    "reward": lambda settings, multi_label: Objective(reward, {"preference": pairs}),
}
