"""How much of a model is trained, and what its blocks keep for that."""

from __future__ import annotations

from luthier.recipe.facts import MOST_KEPT, Facts
from luthier.recipe.types import Recipe

SIDES = 18
"""Hidden sizes in the inputs and outputs of a block's seven linear layers together, about."""
INNER = 5
"""Hidden sizes in a block's keys, values and inner activations together, about."""


def trained_parameters(recipe: Recipe, facts: Facts) -> int:
    """How many weights are trained; a head's few are not counted."""
    model, adapter = facts.model, recipe.adapter
    if adapter.type == "prompt":
        return adapter.virtual_tokens * model.hidden_size
    each_layer = {
        "head": 0,
        "lora": adapter.lora_r * SIDES * model.hidden_size,
        "adalora": adapter.init_r * SIDES * model.hidden_size,
        "ia3": INNER * model.hidden_size,
        "bottleneck": (2 if adapter.bottleneck_placement == "houlsby" else 1)
        * 2 * adapter.bottleneck_size * model.hidden_size,
        "prefix": 2 * adapter.virtual_tokens * model.hidden_size,
    }  # fmt: skip
    whole = model.num_parameters if adapter.type == "full" else each_layer[adapter.type] * model.num_layers
    return int(whole * trained_share(recipe, facts))


def kept_by_block(recipe: Recipe, facts: Facts) -> float:
    """Numbers that a block keeps of each token until the backward, over the size of a hidden state."""
    adapter = recipe.adapter
    if adapter.lora_dropout or adapter.use_dora:
        return MOST_KEPT
    frozen = adapter.type in ("lora", "prefix", "prompt")
    return facts.model.kept_frozen if frozen else facts.model.kept_trained


def trained_share(recipe: Recipe, facts: Facts) -> float:
    """The share of the transformer blocks that are trained."""
    return layers_share(recipe, facts.model.num_layers)


def layers_share(recipe: Recipe, num_layers: int) -> float:
    """The same, of a model with so many."""
    layers = recipe.adapter.num_layers
    return 1.0 if layers == "all" else min(1.0, layers / num_layers)
