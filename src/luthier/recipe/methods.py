"""The vetted optimisation settings of each method, and how they scale with rows, batch and model."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

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
    ("lora", "distill"): Method("LoRA on what a teacher says", 5e-4, 16, 150, 1, 10, rehearsal=0.05),
    ("lora", "classify"): Method("a classifier with LoRA", 2e-4, 32, 600, 3, 10),
    ("full", "sft"): Method("all weights on answers", 2e-5, 16, 150, 1, 10, rehearsal=0.05),
    ("full", "pretrain"): Method("all weights on text", 2e-5, 16, 150, 1, 5, rehearsal=0.05),
    ("full", "distill"): Method("all weights on what a teacher says", 2e-5, 16, 150, 1, 10, rehearsal=0.05),
    ("full", "classify"): Method("a classifier with all weights", 2e-5, 32, 600, 3, 10),
    ("lora", "grpo"): Method("LoRA by group-relative rewards", 2e-4, 8, 60, 1, 10),
    ("full", "grpo"): Method("all weights by group-relative rewards", 2e-6, 8, 60, 1, 10),
    ("lora", "ppo"): Method("LoRA by rewards and values", 2e-4, 8, 60, 1, 10),
    ("full", "ppo"): Method("all weights by rewards and values", 2e-6, 8, 60, 1, 10),
    ("head", "classify"): Method("a head on a frozen trunk", 2e-3, 256, 0, 3, 3, scales=False),
    ("prefix", "sft"): Method("prefix tuning on answers", 3e-2, 16, 300, 1, 20, scales=False, rehearsal=0.05),
    ("prefix", "pretrain"): Method("prefix tuning on text", 3e-2, 16, 300, 1, 10, scales=False, rehearsal=0.05),
    ("prefix", "classify"): Method("a prefix-tuned classifier", 1e-2, 32, 600, 3, 20, scales=False),
    ("prompt", "sft"): Method("prompt tuning on answers", 3e-2, 16, 300, 1, 20, scales=False, rehearsal=0.05),
    ("prompt", "pretrain"): Method("prompt tuning on text", 3e-2, 16, 300, 1, 10, scales=False, rehearsal=0.05),
    ("prompt", "classify"): Method("a prompt-tuned classifier", 1e-2, 32, 600, 3, 20, scales=False),
    ("lora", "dpo"): Method("LoRA on preferences", 5e-5, 32, 150, 1, 3),
    ("full", "dpo"): Method("all weights on preferences", 5e-6, 32, 150, 1, 3),
    ("lora", "reward"): Method("a LoRA reward model", 1e-4, 32, 150, 1, 2),
    ("full", "reward"): Method("a reward model with all weights", 1e-5, 32, 150, 1, 2),
    ("head", "reward"): Method("a reward on a frozen trunk", 2e-3, 256, 0, 3, 3, scales=False),
}
"""(adapter, objective) -> its settings. LoRA takes about ten times the rate of all weights, and a little more in short
fits (Schulman et al. 2025, "LoRA Without Regret"). Virtual tokens take far higher rates: of
0.01, 0.03 and 0.1, the one in the middle did best for both kinds in the first steps on the tickets, with SmolLM2. `dpo`
takes far lower rates than answers (for all weights of 7 B and longer fits, 1e-6 in Rafailov et al. 2023, 5e-7 in
Tunstall et al. 2023, arXiv:2310.16944), a reward model few epochs, since it overfits (Ouyang et al. 2022,
arXiv:2203.02155, appendix C.2)."""
PAIRED = ("dpo", "reward")
"""Objectives that learn from preference pairs: two rendered rows an example."""
HEADED = ("classify", "reward")
"""Objectives with a small head of their own in place of the output over the vocabulary; they write no text."""
ON_POLICY = frozenset({"grpo", "ppo"})
"""Objectives whose answers are sampled from the policy itself."""
AS_LORA = {"ia3": ("IA³", 10.0), "bottleneck": ("bottleneck adapters", 1.0), "adalora": ("AdaLoRA", 4.0)}
"""Adapters that learn as LoRA does but for the rate: what they are called, and how many times LoRA's they take."""
METHODS |= {
    (adapter, objective): replace(as_lora, title=as_lora.title.replace("LoRA", name),
                                  learning_rate=times * as_lora.learning_rate)
    for adapter, (name, times) in AS_LORA.items()
    for (other, objective), as_lora in tuple(METHODS.items()) if other == "lora"
}  # fmt: skip
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


def learnt_beside(recipe: Recipe, rows: int) -> int:
    """All that is learnt beside `rows` train rows of a resolved recipe: passages, and rows of earlier data."""
    return rehearsed(recipe, rows) + replayed(recipe, rows)


def replayed(recipe: Recipe, rows: int) -> int:
    """Rows of earlier data learnt beside `rows` train rows."""
    return round(rows * recipe.train.replay)


def total_steps(recipe: Recipe, rows: int) -> int:
    """Optimizer steps of a resolved recipe on `rows` train rows and what is learnt beside them.

    Batches run on over the end of an epoch, so each but the last is whole: ⌈rows × epochs / batch size⌉, each taken
    `objective.num_iterations` times, at most `train.max_steps`.
    """
    rows += learnt_beside(recipe, rows)
    train = recipe.train
    assert train.num_epochs != "auto", "the recipe is not resolved"
    assert train.batch_size != "auto", "the recipe is not resolved"
    steps = max(1, math.ceil(round(rows * train.num_epochs / train.batch_size, 6))) * recipe.objective.num_iterations
    return min(steps, train.max_steps or steps)
