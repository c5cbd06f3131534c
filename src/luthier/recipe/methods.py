"""The vetted optimisation settings of each method, and how they scale with rows, batch and model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from luthier.recipe.types import Recipe


@dataclass(frozen=True)
class Method:
    """Where a method starts from."""

    title: str
    learning_rate: float
    """At `batch_size` rows a step and, if it `scales`, a billion parameters."""
    batch_size: int
    steps: int
    """Optimizer steps to aim at."""
    min_epochs: int
    max_epochs: int
    scales: bool = True
    """Whether smaller models take a higher rate: times the root of (1 B / parameters), at most `MOST`."""
    rehearsal: float = 0.0
    """General passages for each row."""


METHODS = {
    ("lora", "sft"): Method("LoRA on answers", 5e-4, 16, 150, 1, 10, rehearsal=0.05),
    ("lora", "pretrain"): Method("LoRA on text", 5e-4, 16, 150, 1, 5, rehearsal=0.05),
    ("lora", "classify"): Method("a LoRA classifier", 2e-4, 32, 600, 3, 10),
    ("full", "sft"): Method("all weights on answers", 2e-5, 16, 150, 1, 10, rehearsal=0.05),
    ("full", "pretrain"): Method("all weights on text", 2e-5, 16, 150, 1, 5, rehearsal=0.05),
    ("full", "classify"): Method("a classifier with all weights", 2e-5, 32, 600, 3, 10),
    ("head", "classify"): Method("a head on a frozen trunk", 2e-3, 256, 0, 3, 3, scales=False),
    ("lora", "dpo"): Method("LoRA on preferences", 5e-5, 32, 150, 1, 3),
    ("full", "dpo"): Method("all weights on preferences", 5e-6, 32, 150, 1, 3),
    ("lora", "reward"): Method("a LoRA reward model", 1e-4, 32, 150, 1, 2),
    ("full", "reward"): Method("a reward model with all weights", 1e-5, 32, 150, 1, 2),
    ("head", "reward"): Method("a reward on a frozen trunk", 2e-3, 256, 0, 3, 3, scales=False),
}
"""(adapter, objective) -> its settings. LoRA takes about ten times the rate of all weights, and a little more in short
fits (Schulman et al. 2025, "LoRA Without Regret"). `dpo` takes far lower rates than answers (for all weights of 7 B and
longer fits, 1e-6 in Rafailov et al. 2023, 5e-7 in Tunstall et al. 2023, arXiv:2310.16944), a reward model few epochs,
since it overfits (Ouyang et al. 2022, arXiv:2203.02155, appendix C.2)."""
PAIRED = ("dpo", "reward")
"""Objectives that learn from preference pairs: two rendered rows an example."""
HEADED = ("classify", "reward")
"""Objectives with a small head of their own in place of the output over the vocabulary; they write no text."""
PASSAGES = 72
"""General passages that there are (`data/rehearsal`)."""
MOST = 5.0
"""The largest factor that a small model gives the learning rate."""


def rows_each(recipe: Recipe) -> int:
    """Rendered rows of one example."""
    return 2 if recipe.objective.type in PAIRED else 1


def method_of(recipe: Recipe) -> Method:
    """The row of the table that the recipe's adapter and objective name."""
    return METHODS[recipe.adapter.type, recipe.objective.type]


def epochs_for(method: Method, rows: int, batch_size: int) -> float:
    """Whole epochs that reach the steps aimed at, within the method's bounds."""
    wanted = math.ceil(method.steps * batch_size / rows)
    return float(min(max(wanted, method.min_epochs), method.max_epochs))


def size_factor(method: Method, num_parameters: int) -> float:
    """How much higher the learning rate is than at a billion parameters."""
    return min(MOST, math.sqrt(1e9 / num_parameters)) if method.scales else 1.0


def batch_factor(method: Method, batch_size: int) -> float:
    """The learning rate of AdamW grows with the root of the batch (Malladi et al. 2022, arXiv:2205.10287)."""
    return math.sqrt(batch_size / method.batch_size)


def rehearsed(recipe: Recipe, rows: int) -> int:
    """General passages learnt beside `rows` train rows of a resolved recipe."""
    assert recipe.train.rehearsal != "auto", "the recipe is not resolved"
    return min(PASSAGES, round(rows * recipe.train.rehearsal))


def total_steps(recipe: Recipe, rows: int) -> int:
    """Optimizer steps of a resolved recipe on `rows` train rows and the passages learnt beside them.

    Batches run on over the end of an epoch, so each but the last is whole: ⌈rows × epochs / batch size⌉, at
    most `train.max_steps`.
    """
    rows += rehearsed(recipe, rows)
    train = recipe.train
    assert train.num_epochs != "auto", "the recipe is not resolved"
    assert train.batch_size != "auto", "the recipe is not resolved"
    steps = max(1, math.ceil(round(rows * train.num_epochs / train.batch_size, 6)))
    return min(steps, train.max_steps or steps)
