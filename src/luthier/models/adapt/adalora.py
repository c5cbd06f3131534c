"""AdaLoRA (Zhang et al. 2023, arXiv:2303.10512) through PEFT: W + s·B diag(e) A, where ranks of little importance are
cut while the fit runs. Which ones, `engine/ranks.py` decides; here are the matrices and their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from luthier.models.adapt.lora import on_targets, quiet
from luthier.models.peft_parts import AdaLoraConfig, AdaLoraLayer, PeftModel
from luthier.recipe.types import Adapter


def add_adalora(model: nn.Module, adapter: Adapter, task_type: str) -> PeftModel:
    """Wrap `model` with rank-`init_r` matrices: A and B as PEFT draws them, e zero, so that the start equals the base.

    Raises ModelError where no layer has one of the names in `lora_target_modules`.
    """
    wrapped = on_targets(
        AdaLoraConfig, model, adapter, init_r=adapter.init_r, target_r=adapter.target_r, task_type=task_type,
        orth_reg_weight=adapter.orth_reg_weight, total_step=1,
    )  # fmt: skip
    for layer in wrapped.modules():
        if isinstance(layer, AdaLoraLayer):
            layer.ranknum.requires_grad_(False)  # PEFT thaws it where it gives it the type of the base
    return wrapped


def save_adalora(wrapped: Any, folder: Path) -> None:
    """Write PEFT's files without the ranks that were cut: those whose singular value is 0."""
    layers = {name: module for name, module in wrapped.base_model.model.named_modules()
              if isinstance(module, AdaLoraLayer)}  # fmt: skip
    wrapped.peft_config["default"].rank_pattern = {
        f"{name}.lora_E": (layer.lora_E["default"] != 0).flatten().tolist() for name, layer in layers.items()
    }
    with quiet():
        wrapped.save_pretrained(str(folder))
