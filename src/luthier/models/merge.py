"""Merging an adapter into its base, and how far the merged logits are from the adapter's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from luthier.data.batch import Batch
from luthier.data.stream import Rows, packed
from luthier.errors import ModelError
from luthier.models.adapt.table import UNMERGED, kind_of_adapter
from luthier.models.held import HeldLinear, expanded
from luthier.models.load import load_policy, trained_on
from luthier.models.locate import ModelFiles
from luthier.models.peft_parts import LoraLayer
from luthier.models.policy import Policy

PROBE_ROWS, PROBE_TOKENS, PROBE_PLACES = 4, 256, 32
"""Rows of at most so many tokens, in each of which the logits of so many tokens are compared."""


def merge_difference(files: ModelFiles, adapter: Path, rows: Rows) -> float | None:
    """The largest difference that `merge` makes to a logit, over the largest logit, on a few rows of data.

    None where there is nothing to merge (the output over the vocabulary or the adapter is missing), and where
    `not_merged` says why it cannot be.
    """
    if files.kind != "decoder" or kind_of_adapter(adapter) is None or not_merged(adapter):
        return None
    files = replace(trained_on(files, adapter), precision="float32")
    policy = load_policy(files, adapter)
    chosen = [i for i in range(len(rows)) if rows.lengths[i] <= PROBE_TOKENS][:PROBE_ROWS] or [0]
    with policy.evaluating():
        batches = packed(rows, 1)(chosen)
        before = [_some_logits(policy, batch) for batch in batches]
    if any(isinstance(module, HeldLinear) for module in policy.wrapped.modules()):
        _hold_merged(policy.wrapped)
    else:
        policy.wrapped.merge_adapter()  # type: ignore[operator]
    with policy.evaluating():
        after = [_some_logits(policy, batch) for batch in batches]
    apart = max(float((a - b).abs().max()) for a, b in zip(after, before, strict=True))
    return apart / max(float(b.abs().max()) for b in before)


def _some_logits(policy: Policy, batch: Batch) -> Tensor:
    """The logits of a row at places spread over it: (at most PROBE_PLACES, V)."""
    states = policy.hidden(batch)
    return policy.vocab_logits(states[torch.linspace(0, len(states) - 1, min(len(states), PROBE_PLACES)).long()])


class Merged:
    """W + s·BA in float32, as merging writes it, for a layer whose W is held in a form of its own."""

    def __init__(self, layer: Any, name: str) -> None:
        self.weight, self.scale = layer.base_layer.weight, layer.scaling[name]
        self.a, self.b = layer.lora_A[name].weight, layer.lora_B[name].weight
        self.numbers = self.weight.data
        self.shape = torch.Size((len(self.b), self.a.shape[1]))

    def matrix(self, out: Tensor) -> Tensor:
        """Write it into `out` (out, in)."""
        return out.copy_(expanded(self.weight) + (self.b @ self.a) * self.scale)


def _hold_merged(model: Any) -> None:
    """Merge LoRA into the layers of `model`, one matrix at a time and only when a product needs it."""
    layers: list[Any] = [module for module in model.modules() if isinstance(module, LoraLayer)]
    for layer in layers:
        layer.base_layer = HeldLinear(layer.base_layer, Merged(layer, layer.active_adapters[0]))
    model.base_model.disable_adapter_layers()


def not_merged(adapter: Path) -> str | None:
    """Why the adapter in this folder cannot be merged; None where it can, or where there is none."""
    return UNMERGED.get(kind_of_adapter(adapter) or "")


def merge(files: ModelFiles, adapter: Path, target: Path) -> None:
    """Write the base with the adapter merged into it, as an ordinary model folder with the base's tokenizer.

    An adapter that was trained on fewer bits is added to the values that these held, in float32. Raises
    ModelError for an adapter that cannot be merged.
    """
    import shutil

    why = not_merged(adapter)
    if why:
        raise ModelError(why, str(adapter), "Use the adapter on its base")
    policy = load_policy(replace(files, precision="float32"), adapter, dequantised=True)
    merged: Any = policy.wrapped.merge_and_unload()  # type: ignore[operator]
    merged.save_pretrained(str(target))
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
                 "generation_config.json"):  # fmt: skip
        if (files.folder / name).exists():
            shutil.copyfile(files.folder / name, target / name)
