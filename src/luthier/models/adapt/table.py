"""What a recipe's `adapter` puts on a base, and how it comes back from its files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from luthier.errors import ModelError
from luthier.models.adapt.blocks import thaw
from luthier.models.adapt.lora import add_lora, load_lora
from luthier.models.adapt.soft import add_prefix, add_prompt, load_soft
from luthier.models.policy import Policy
from luthier.recipe.types import Adapter


def _lora(policy: Policy, adapter: Adapter) -> None:
    policy.wrapped = add_lora(policy.wrapped, adapter, "CAUSAL_LM" if policy.lm_head else "FEATURE_EXTRACTION")


def _loaded_lora(policy: Policy, folder: Path) -> None:
    policy.wrapped = load_lora(policy.wrapped, folder)


ADD: dict[str, Callable[[Policy, Adapter], None]] = {
    "lora": _lora,
    "full": lambda policy, adapter: thaw(policy.wrapped, adapter),
    "head": lambda policy, adapter: None,
    "prefix": add_prefix,
    "prompt": add_prompt,
}
"""`adapter.type` → puts it on a frozen base; what is to be learnt, and no more, requires gradients afterwards."""
LOAD: dict[str, Callable[[Policy, Path], None]] = {
    "LORA": _loaded_lora, "PREFIX_TUNING": load_soft, "PROMPT_TUNING": load_soft,
}  # fmt: skip
"""`peft_type` of an adapter_config.json → puts the adapter in that folder on a base, frozen."""


def load_adapter(policy: Policy, folder: Path) -> None:
    """Put the adapter in `folder` on the policy. Raises ModelError for a kind that is not known here."""
    kind = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["peft_type"]
    if kind not in LOAD:
        raise ModelError(f"adapters of the kind {kind} are not known", str(folder), f"Known are {', '.join(LOAD)}")
    LOAD[kind](policy, folder)
