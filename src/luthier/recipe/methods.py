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
    ("prefix", "sft"): Method("prefix tuning on answers", 3e-2, 16, 300, 1, 20, scales=False, rehearsal=0.05),
    ("prefix", "pretrain"): Method("prefix tuning on text", 3e-2, 16, 300, 1, 10, scales=False, rehearsal=0.05),
    ("prefix", "classify"): Method("a prefix-tuned classifier", 1e-2, 32, 600, 3, 20, scales=False),
    ("prompt", "sft"): Method("prompt tuning on answers", 3e-2, 16, 300, 1, 20, scales=False, rehearsal=0.05),
    ("prompt", "pretrain"): Method("prompt tuning on text", 3e-2, 16, 300, 1, 10, scales=False, rehearsal=0.05),
    ("prompt", "classify"): Method("a prompt-tuned classifier", 1e-2, 32, 600, 3, 20, scales=False),
}
"""(adapter, objective) -> its settings. LoRA takes about ten times the rate of all weights, and a little more in short
fits (Schulman et al. 2025, "LoRA Without Regret"). Virtual tokens take a far higher rate: of 0.01, 0.03
and 0.1, the one in the middle did best for both kinds in the first steps on the tickets, with SmolLM2."""
PASSAGES = 72
"""General passages that there are (`data/rehearsal`)."""
MOST = 5.0
"""The largest factor that a small model gives the learning rate."""


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
