"""Bottleneck adapters: h + W_up gelu(W_down h + b) + b' on what a sub-layer adds to the residual stream.

After attention and feed-forward (Houlsby et al. 2019, arXiv:1902.00751), or after the feed-forward alone (as Pfeiffer
et al. 2020, arXiv:2005.00247, found to be enough). PEFT has no such method; the two files are in its layout.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from luthier.models.adapt.sublayers import sublayers, width
from luthier.recipe.types import Adapter

KIND = "BOTTLENECK"
PREFIX = "base_model.model."
"""Before the names of tensors in PEFT's files."""


class Bottleneck(nn.Module):
    """A linear layer and the small layers behind it: (…, in) → (…, out).

    W_down is drawn with a deviation of 0.01 and all else is zero, so that the start equals the base.
    """

    def __init__(self, base_layer: nn.Module, size: int) -> None:
        super().__init__()
        hidden, like = width(base_layer), next(base_layer.parameters())
        self.base_layer = base_layer
        self.down = nn.Linear(hidden, size, device=like.device)
        self.up = nn.Linear(size, hidden, device=like.device)
        nn.init.normal_(self.down.weight, std=0.01)
        for weights in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(weights)

    def forward(self, x: Tensor) -> Tensor:
        """What the linear layer says, corrected."""
        h = self.base_layer(x)
        return h + self.up(functional.gelu(self.down(h)))


class BottleneckModel(nn.Module):
    """A transformers model with bottleneck adapters: keeps their settings and writes their files, as PEFT's wrapper."""

    def __init__(self, model: Any, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.model, self.config = model, model.config
        self.peft_config = {"default": settings}
        for name in settings["target_modules"]:
            parent, _, last = name.rpartition(".")
            layer = Bottleneck(model.get_submodule(name), settings["bottleneck_size"])
            setattr(model.get_submodule(parent), last, layer)

    def small_layers(self) -> dict[str, nn.Parameter]:
        """What is learnt, by name in the files."""
        layers = {name: module for name, module in self.model.named_modules() if isinstance(module, Bottleneck)}
        return {
            f"{PREFIX}{name}.{part}.{kind}": weights
            for name, layer in layers.items()
            for part in ("down", "up")
            for kind, weights in layer.get_submodule(part).named_parameters()
        }

    def save_pretrained(self, folder: str) -> None:
        """Write adapter_config.json and adapter_model.safetensors."""
        text = json.dumps(dict(self.peft_config["default"]), indent=2)
        (Path(folder) / "adapter_config.json").write_text(text, encoding="utf-8")
        tensors = {name: weights.detach().contiguous() for name, weights in self.small_layers().items()}
        save_file(tensors, Path(folder) / "adapter_model.safetensors", {"format": "pt"})


def add_bottleneck(model: nn.Module, adapter: Adapter, task_type: str) -> BottleneckModel:
    """Put small layers into `model`. Raises ModelError as `sublayers` does."""
    found = sublayers(model, adapter)
    after = [block.feed_forward for block in found]
    if adapter.bottleneck_placement == "houlsby":
        after += [block.attention for block in found]
    return BottleneckModel(model, {
        "peft_type": KIND, "task_type": task_type, "base_model_name_or_path": None, "non_linearity": "gelu",
        "bottleneck_size": adapter.bottleneck_size, "target_modules": sorted(after),
    })  # fmt: skip


def load_bottleneck(model: nn.Module, folder: Path) -> BottleneckModel:
    """Put the small layers in `folder` into `model`, frozen."""
    wrapped = BottleneckModel(model, json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")))
    saved = load_file(folder / "adapter_model.safetensors")
    with torch.no_grad():
        for name, weights in wrapped.small_layers().items():
            weights.copy_(saved[name])
    wrapped.requires_grad_(False)
    return wrapped
