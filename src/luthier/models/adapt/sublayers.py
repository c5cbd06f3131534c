"""Where the attention and the feed-forward of a transformer block begin and end, whatever its family calls them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from luthier.errors import ModelError
from luthier.models.adapt.blocks import adapted, blocks_of
from luthier.recipe.types import Adapter

QUERIES = {"q_proj", "query", "q_lin", "query_proj", "q"}
"""What linear layers are called that make queries and nothing else."""
OF_POSITIONS = "pos_"
"""What the names of layers begin with that make keys and queries of positions."""


@dataclass(frozen=True)
class Sublayers:
    """Linear layers of one block, by their full names in the model."""

    attention: str
    """The last one of the attention, back to the hidden size."""
    feed_forward: str
    """The last one of the feed-forward, likewise: it reads the inner activations."""
    keys_and_values: tuple[str, ...]
    """Those that make keys and values; with them the queries, where one layer makes all three."""


def sublayers(model: Any, adapter: Adapter) -> list[Sublayers]:
    """Of each block that the recipe adapts, first to last.

    Raises ModelError where a block has not one feed-forward of linear layers, as in a mixture of experts.
    """
    blocks = blocks_of(model)
    start = next(name for name, module in model.named_modules() if module is blocks)
    return [_of(model, f"{start}.{number}", blocks[number]) for number in adapted(model, adapter)]


def width(layer: nn.Module) -> int:
    """The outputs of a linear layer."""
    return int(layer.nf if isinstance(layer, Conv1D) else layer.out_features)  # type: ignore[arg-type]


def _of(model: Any, start: str, block: nn.Module) -> Sublayers:
    linear = {f"{start}.{name}": module for name, module in block.named_modules()
              if isinstance(module, nn.Linear | Conv1D)}  # fmt: skip
    inside = [name for name in linear if "att" in name.removeprefix(start)]
    back = [name for name, layer in linear.items() if width(layer) == model.config.hidden_size]
    attention = [name for name in back if name in inside]
    feed_forward = [name for name in back if name not in inside]
    if not attention or not feed_forward or any("expert" in name for name, _ in block.named_modules()):
        raise ModelError("its blocks are not one attention and one feed-forward of linear layers",
                         where=type(model).__name__, mend="Write `adapter: lora`")  # fmt: skip
    names = {name: name.rpartition(".")[2] for name in inside if name != attention[-1]}
    sources = [name for name, last in names.items() if last not in QUERIES and not last.startswith(OF_POSITIONS)]
    return Sublayers(attention[-1], feed_forward[-1], tuple(sources))
