"""IA³ (Liu et al. 2022, arXiv:2205.05638) through PEFT: k ← l_k ⊙ k, v ← l_v ⊙ v, and l_f ⊙ γ(W h) inside the
feed-forward. The factors l begin at 1, so that the start equals the base."""

from __future__ import annotations

from torch import nn

from luthier.models.adapt.lora import quiet
from luthier.models.adapt.sublayers import sublayers
from luthier.models.peft_parts import IA3Config, PeftModel, get_peft_model
from luthier.recipe.types import Adapter


def add_ia3(model: nn.Module, adapter: Adapter, task_type: str | None) -> PeftModel:
    """Wrap `model` with factors on keys, values and inner activations. Raises ModelError as `sublayers` does.

    Where one layer makes queries, keys and values, all three are scaled, as PEFT has it.
    """
    found = sublayers(model, adapter)
    inner = [block.feed_forward for block in found]
    targets = [name for block in found for name in block.keys_and_values] + inner
    config = IA3Config(target_modules=targets, feedforward_modules=inner, task_type=task_type)  # type: ignore[arg-type]
    with quiet():
        return get_peft_model(model, config)  # type: ignore[arg-type, return-value]
