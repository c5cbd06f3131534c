"""A LoRA adapter as a GGUF file, which llama.cpp puts on a base that it holds."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter

from luthier.errors import ModelError
from luthier.models.export.architecture import check_architecture, gguf_name, in_gguf_order
from luthier.models.export.tensors import read_tensor
from luthier.models.weights import places

KEY = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
MORE = {"use_dora": "DoRA", "modules_to_save": "layers learnt whole", "lora_bias": "biases",
        "alora_invocation_tokens": "an invocation"}  # fmt: skip
"""Settings of PEFT → what they add to plain LoRA."""
PLAIN = "Export the model merged, as `gguf-q8_0` or `safetensors`"


def not_plain(adapter: Path) -> str | None:
    """Why this folder is no LoRA adapter that llama.cpp can put on a base; None where it is one."""
    path = adapter / "adapter_config.json"
    if not path.exists():
        return "holds no adapter"
    config = json.loads(path.read_text(encoding="utf-8"))
    if config["peft_type"] != "LORA":
        return f"is an adapter of the kind {config['peft_type']}, not LoRA"
    for key, what in MORE.items():
        if config.get(key):
            return f"has {what}, which llama.cpp's adapters have not"
    return "has a classification head" if (adapter / "head.json").exists() else None


def write_adapter(adapter: Path, config: Mapping[str, Any], target: Path) -> None:
    """Write PEFT's adapter in this folder, of a base with this config.json, as `target`.

    llama.cpp computes W x + alpha / r · B (A x). Alpha is 1 in the file, and each B holds its own scale, as ranks
    and scales may differ between layers. Raises ModelError for anything but plain LoRA on linear layers.
    """
    architecture = check_architecture(config)
    if fault := not_plain(adapter):
        raise ModelError(fault, str(adapter), PLAIN)
    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    writer = GGUFWriter(target, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 1.0)
    for module, (a, b) in sorted(_pairs(adapter).items()):
        name = f"{gguf_name(module)}.weight"
        scaled = b * (_scale(settings, module, len(a)) * len(a))
        writer.add_tensor(f"{name}.lora_a", np.ascontiguousarray(a))
        writer.add_tensor(f"{name}.lora_b", in_gguf_order(module, scaled.astype(np.float32), config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _pairs(adapter: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Module → A (r, in) and B (out, r), float32."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for key, stored in places([adapter / "adapter_model.safetensors"]).items():
        name = KEY.fullmatch(key)
        if name is None:
            raise ModelError(f"holds `{key}`, which is no part of LoRA on a linear layer", str(adapter), PLAIN)
        found.setdefault(name[1], {})[name[2]] = read_tensor(stored)
    return {module: (parts["A"], parts["B"]) for module, parts in found.items()}


def _scale(settings: Mapping[str, Any], module: str, rank: int) -> float:
    """What PEFT multiplies B A by. A rank that is not `r` is one of `rank_pattern`; so may alpha be of its own."""
    own = [value for pattern, value in (settings.get("alpha_pattern") or {}).items()
           if re.fullmatch(rf"(.*\.)?({pattern})", module)]  # fmt: skip
    alpha = float(own[0] if own else settings["lora_alpha"])
    return alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
