"""Several LoRA adapters on one base, in one forward pass: each segment of a pack passes the adapter that it names.

The base's matrices are multiplied once for all tokens; each adapter adds its own s·(x Aᵀ) Bᵀ to the tokens of its
segments (Chen et al. 2023, "Punica", arXiv:2310.18547; Sheng et al. 2023, "S-LoRA", arXiv:2311.03285). While decoding,
each row of the memory goes on with the adapter that it began with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from luthier.data.forest import Segment
from luthier.errors import ModelError
from luthier.models.adapt.lora import ROUTE, load_peft
from luthier.models.attention import Memory, Shelves
from luthier.models.context import told
from luthier.models.families import packs
from luthier.models.lean import ASKED
from luthier.models.load import load_base, trained_on
from luthier.models.locate import ModelFiles
from luthier.models.policy import Policy

WEIGHTS = "adapter_model.safetensors"
OTHER_THAN_PLAIN = ("modules_to_save", "use_dora", "use_qalora", "alora_invocation_tokens", "arrow_config")
"""Settings of PEFT's that make something else of a LoRA adapter."""
ALONE = "Load it alone, with `load_policy`"


class Tenants(nn.Module):
    """A trunk whose LoRA layers know which tokens pass which adapter; `slots` says what PEFT calls each."""

    def __init__(self, trunk: Any, slots: Mapping[str, str]) -> None:
        super().__init__()
        self.trunk, self.slots = trunk, dict(slots)

    def forward(
        self, segments: Sequence[Segment] | None = None, memory: Memory | Shelves | None = None, **options: Any
    ) -> Any:
        """As the trunk. Raises ModelError where a segment names an adapter that is not here."""
        if memory is not None:
            options["memory"] = memory
        if segments is not None:
            options["segments"] = segments
            owners = [(s.adapter, range(s.start, s.end)) for s in segments]
        else:
            assert memory is not None
            owners = [(name, range(row, row + 1)) for row, name in enumerate(memory.adapters)]
        route = self._route(owners, options["input_ids"].device)
        with told(ROUTE, route), told(ASKED, None):  # a route counts all tokens
            return self.trunk(**options)

    def _route(self, owners: Sequence[tuple[str | None, range]], device: torch.device) -> dict[str, Tensor]:
        """What PEFT calls an adapter → which tokens pass it."""
        tokens: dict[str, list[int]] = {}
        for name, own in owners:
            if name is not None:
                if name not in self.slots:
                    raise ModelError(f"there is no adapter {name!r}", mend=f"There are {', '.join(self.slots)}")
                tokens.setdefault(self.slots[name], []).extend(own)
        return {slot: torch.tensor(own, device=device) for slot, own in tokens.items()}


def load_tenants(files: ModelFiles, folders: Mapping[str, Path], device: str = "cpu") -> Policy:
    """The base with the LoRA adapters in `folders` on it, by name, frozen. A row that names none passes the base alone.

    Raises ModelError as `add_tenant` does, and for families that are padded.
    """
    _check_packed(files)
    policy = load_base(files, device)
    for name, folder in folders.items():
        add_tenant(policy, files, name, folder)
    return policy


def add_tenant(policy: Policy, files: ModelFiles, name: str, folder: Path) -> None:
    """Put one more LoRA adapter beside those on a base that `load_base` or `load_tenants` made; its weights are shared.

    Raises ModelError where it was trained on another base, is no plain LoRA adapter, or has a classification head, and
    for families that are padded. The policy is then as it was.
    """
    _check_packed(files)
    if not (folder / "adapter_config.json").exists():
        raise ModelError("is no plain LoRA adapter", str(folder), ALONE)
    if trained_on(files, folder) != files:
        raise ModelError("was trained on the base in another number format", str(folder), ALONE)
    _check_plain(folder)
    trunk = policy.trunk if isinstance(policy.trunk, Tenants) else Tenants(policy.trunk, {})
    slot = f"tenant_{len(trunk.slots)}"
    policy.wrapped = load_peft(policy.wrapped, folder, slot)
    trunk.slots[name], policy.trunk = slot, trunk
    policy.train(False)


def _check_packed(files: ModelFiles) -> None:
    family = str(files.config["model_type"])
    if not packs(family):
        raise ModelError(f"rows of {family} models are padded, so tokens of a pack cannot be told apart", mend=ALONE)


def _check_plain(folder: Path) -> None:
    """An adapter is plain if its files hold the matrices A and B of linear layers, and nothing else."""
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    with safe_open(folder / WEIGHTS, "pt") as file:
        names = file.keys()
    linear = all(name.endswith(("lora_A.weight", "lora_B.weight")) for name in names)
    if config["peft_type"] != "LORA" or not linear or any(config.get(key) for key in OTHER_THAN_PLAIN):
        raise ModelError("is no plain LoRA adapter", str(folder), ALONE)
    if (folder / "head.json").exists():
        raise ModelError("has a classification head, which would be that of all rows", str(folder), ALONE)
