"""What a recipe's `adapter` puts on a base, and how it comes back from its files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from luthier.errors import ModelError
from luthier.models.adapt.adalora import add_adalora, save_adalora
from luthier.models.adapt.blocks import thaw
from luthier.models.adapt.bottleneck import add_bottleneck, load_bottleneck
from luthier.models.adapt.ia3 import add_ia3
from luthier.models.adapt.lora import add_lora, load_peft
from luthier.models.adapt.soft import add_prefix, add_prompt, load_soft
from luthier.models.policy import Policy
from luthier.recipe.types import Adapter

Wrap = Callable[[nn.Module, Adapter, str], nn.Module]
"""(a model, the recipe's adapter, PEFT's task type) → the model with the adapter in its layers."""


def _wrapped(wrap: Wrap) -> Callable[[Policy, Adapter], None]:
    def add(policy: Policy, adapter: Adapter) -> None:
        policy.wrapped = wrap(policy.wrapped, adapter, "CAUSAL_LM" if policy.lm_head else "FEATURE_EXTRACTION")

    return add


def _loaded(load: Callable[[nn.Module, Path], nn.Module]) -> Callable[[Policy, Path], None]:
    def put(policy: Policy, folder: Path) -> None:
        policy.wrapped = load(policy.wrapped, folder)

    return put


ADD: dict[str, Callable[[Policy, Adapter], None]] = {
    "lora": _wrapped(add_lora),
    "adalora": _wrapped(add_adalora),
    "ia3": _wrapped(add_ia3),
    "bottleneck": _wrapped(add_bottleneck),
    "full": lambda policy, adapter: thaw(policy.wrapped, adapter),
    "head": lambda policy, adapter: None,
    "prefix": add_prefix,
    "prompt": add_prompt,
}
"""`adapter.type` → puts it on a frozen base; what is to be learnt, and no more, requires gradients afterwards."""
LOAD: dict[str, Callable[[Policy, Path], None]] = {
    "LORA": _loaded(load_peft),
    "ADALORA": _loaded(load_peft),
    "IA3": _loaded(load_peft),
    "BOTTLENECK": _loaded(load_bottleneck),
    "PREFIX_TUNING": load_soft,
    "PROMPT_TUNING": load_soft,
}
"""`peft_type` of an adapter_config.json → puts the adapter in that folder on a base, frozen."""
SAVE: dict[str, Callable[[Any, Path], None]] = {"ADALORA": save_adalora}
"""`peft_type` → writes the adapter of a wrapped model, where that is more than `save_pretrained`."""
VIRTUAL = "virtual tokens stand before the rows and change no weight of the base"
UNMERGED = {
    "BOTTLENECK": "no weight matrix can hold the activation inside a bottleneck adapter",
    "PREFIX_TUNING": VIRTUAL,
    "PROMPT_TUNING": VIRTUAL,
}
"""`peft_type` → why adapters of this kind cannot be merged into their base."""


def save_adapter(wrapped: Any, folder: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors of a model that has an adapter in its layers."""
    settings = wrapped.peft_config["default"]
    kind = settings["peft_type"] if isinstance(settings, Mapping) else settings.peft_type.value
    SAVE.get(kind, lambda model, path: model.save_pretrained(str(path)))(wrapped, folder)


def kind_of_adapter(folder: Path) -> str | None:
    """The `peft_type` of the adapter in `folder`; None where there is none."""
    config = folder / "adapter_config.json"
    return str(json.loads(config.read_text(encoding="utf-8"))["peft_type"]) if config.exists() else None


def load_adapter(policy: Policy, folder: Path) -> None:
    """Put the adapter in `folder` on the policy, if there is one. Raises ModelError for a kind not known here."""
    kind = kind_of_adapter(folder)
    if kind is None:
        return
    if kind not in LOAD:
        raise ModelError(f"adapters of the kind {kind} are not known", str(folder), f"Known are {', '.join(LOAD)}")
    LOAD[kind](policy, folder)
