"""Every objective by the name that recipes use."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from luthier.models.policy import Policy
from luthier.objectives.classify import classify, classify_multi, rows
from luthier.objectives.distill import scorer
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


TABLE: dict[str, Build] = {
    "sft": lambda settings, multi_label: Objective(sft, {"nll": tokens}),
    "pretrain": lambda settings, multi_label: Objective(sft, {"nll": tokens}),
    "classify": _classify,
    "distill": _distill,
}
