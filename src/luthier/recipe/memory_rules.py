"""Where settings that make a fit take less memory contradict others."""

from __future__ import annotations

from collections.abc import Iterator

from luthier.recipe.faults import Fault
from luthier.recipe.methods import ON_POLICY
from luthier.recipe.types import Recipe


def memory_faults(recipe: Recipe) -> Iterator[Fault]:
    """What takes less memory, where it cannot be had or has no effect."""
    train = recipe.train
    if train.gradient_checkpointing in (True, "long") and recipe.adapter.type == "head":
        what = "`train.gradient_checkpointing` has no effect on a frozen trunk"
        yield Fault(("train", "gradient_checkpointing"), what, "Leave it out, or change the adapter")
    if train.activation_offloading and train.gradient_checkpointing is not True:
        what = "`train.activation_offloading` has no effect without `train.gradient_checkpointing: true`"
        yield Fault(("train", "activation_offloading"), what, "Leave it out, or change the other")
    if train.optimizer_in_backward:
        yield from _in_backward(recipe)
    if train.precision == "float16" and (train.optimizer_in_backward or recipe.privacy.wanted):
        other = "privacy" if recipe.privacy.wanted else "train.optimizer_in_backward"
        what = f"`train.precision: float16` scales the loss, which does not go with `{other}`"
        yield Fault(("train", "precision"), what, "Write `bfloat16` or `float32`")


def _in_backward(recipe: Recipe) -> Iterator[Fault]:
    """What needs a gradient of the whole step, in one fault."""
    needs = {
        "`adapter: full`": recipe.adapter.type != "full",
        "`train.max_grad_norm: 0`": bool(recipe.train.max_grad_norm),
        "`train.ewc_lambda: 0`": bool(recipe.train.ewc_lambda),
        "no `objective.beside`": bool(recipe.objective.beside),
        "no `privacy`": recipe.privacy.wanted,
        "an objective that samples no answers": recipe.objective.type in ON_POLICY,
    }
    missing = [name for name, wrong in needs.items() if wrong]
    if missing:
        what = (
            "`train.optimizer_in_backward` uses each weight's gradient as it arrives: there is no gradient of the "
            "whole step that could be clipped, added up or penalised, and a step is one micro-batch"
        )
        yield Fault(("train", "optimizer_in_backward"), what, f"It needs {', '.join(missing)}; else leave it out")
