"""A model's transformer blocks, and the last of them."""

from __future__ import annotations

from typing import Any

from torch import nn

from luthier.errors import ModelError
from luthier.recipe.types import Adapter


def blocks_of(model: Any) -> nn.ModuleList:
    """The list of a model's transformer blocks, first to last. Raises ModelError where it has no such list."""
    count = model.config.num_hidden_layers
    lists = (module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == count)
    found = next(lists, None)
    if found is None:
        raise ModelError("this model has no one list of transformer blocks", where=type(model).__name__,
                         mend="Write `adapter: lora` or `full`, without `adapter.num_layers`")  # fmt: skip
    return found


def adapted(model: Any, adapter: Adapter) -> range:
    """The numbers of the blocks that are trained: all, or the last `adapter.num_layers`.

    Raises ModelError where the model has fewer.
    """
    count = len(blocks_of(model))
    if adapter.num_layers == "all":
        return range(count)
    if adapter.num_layers > count:
        raise ModelError(f"the model has {count} transformer blocks", where="adapter.num_layers",
                         mend=f"Write at most {count}, or `all`")  # fmt: skip
    return range(count - adapter.num_layers, count)


def thaw(model: Any, adapter: Adapter) -> None:
    """Train the last blocks and what comes after them; the embeddings only where all blocks are trained.

    An output layer that shares its weights with the embeddings stays frozen with them.
    """
    if adapter.num_layers == "all":
        model.requires_grad_(True)
        return
    chosen = adapted(model, adapter)
    blocks, seen = blocks_of(model), False
    inside = {id(module) for module in blocks.modules()}
    for module in model.modules():
        seen = seen or module is blocks
        if seen and id(module) not in inside:
            module.requires_grad_(True)
    for number in chosen:
        blocks[number].requires_grad_(True)
    model.get_input_embeddings().requires_grad_(False)
