"""How llama.cpp knows the model families that are written as GGUF: the names of their weights, and their numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from luthier.errors import ModelError

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""`model_type` → llama.cpp's name of it."""
LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
OUTER_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")
ELSEWHERE = "Export it as `safetensors`, or serve it with the torch engine"


def check_architecture(config: Mapping[str, Any]) -> str:
    """llama.cpp's name of this model's architecture. Raises ModelError where it would compute something else."""
    family = str(config["model_type"])
    if family not in ARCHITECTURES:
        raise ModelError(f"models of the family `{family}` are not written as GGUF, only {', '.join(ARCHITECTURES)}",
                         mend=ELSEWHERE)  # fmt: skip
    window = config.get("sliding_window") if config.get("use_sliding_window", family == "mistral") else None
    if window and window < config["max_position_embeddings"]:
        raise ModelError(f"attention within a window of {window} tokens is not written as GGUF", mend=ELSEWHERE)
    kind = rope(config).get("rope_type", "default")
    if kind not in ("default", "llama3"):
        raise ModelError(f"rotary positions of the kind `{kind}` are not written as GGUF", mend=ELSEWHERE)
    return ARCHITECTURES[family]


def metadata(config: Mapping[str, Any]) -> dict[str, int | float]:
    """The numbers of the architecture, by GGUF's keys without the architecture's name before them."""
    heads = int(config["num_attention_heads"])
    width = head_width(config)
    return {
        "block_count": int(config["num_hidden_layers"]),
        "context_length": int(config["max_position_embeddings"]),
        "embedding_length": int(config["hidden_size"]),
        "feed_forward_length": int(config["intermediate_size"]),
        "attention.head_count": heads,
        "attention.head_count_kv": int(config.get("num_key_value_heads") or heads),
        "attention.key_length": width,
        "attention.value_length": width,
        "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        "rope.freq_base": float(rope(config).get("rope_theta", 10_000.0)),
        "rope.dimension_count": width,
        "vocab_size": int(config["vocab_size"]),
    }


def gguf_name(name: str) -> str:
    """`model.layers.3.self_attn.q_proj` → `blk.3.attn_q`. Raises ModelError for a module that llama.cpp has not."""
    layer = LAYER.fullmatch(name)
    found = LAYER_NAMES.get(layer[2]) if layer else OUTER_NAMES.get(name)
    if found is None:
        raise ModelError(f"llama.cpp knows no weights like `{name}`", mend=ELSEWHERE)
    return f"blk.{layer[1]}.{found}" if layer else found


def in_gguf_order(name: str, rows: np.ndarray, config: Mapping[str, Any]) -> np.ndarray:
    """The output rows of module `name`, (out, …), as llama.cpp has them.

    Of each head of a Llama's queries and keys, transformers rotates row i with i + d/2, llama.cpp neighbours.
    """
    heads = {
        "q_proj": config["num_attention_heads"],
        "k_proj": config.get("num_key_value_heads") or config["num_attention_heads"],
    }.get(name.split(".")[-1])
    if heads is None or ARCHITECTURES[config["model_type"]] != "llama":
        return rows
    halves = rows.reshape(heads, 2, len(rows) // heads // 2, -1)
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)


def frequency_factors(config: Mapping[str, Any]) -> np.ndarray | None:
    """What Llama 3.1 divides each rotary frequency by, (d/2,); None where it is not of this kind.

    The Llama 3 Herd of Models, Grattafiori et al. 2024, arXiv:2407.21783; the formula is that of its reference code.
    """
    found = rope(config)
    if found.get("rope_type", "default") != "llama3":
        return None
    width, trained = head_width(config), found["original_max_position_embeddings"]
    waves = 2 * math.pi * found["rope_theta"] ** (np.arange(0, width, 2) / width)
    low, high, factor = found["low_freq_factor"], found["high_freq_factor"], found["factor"]
    smooth = np.clip((trained / waves - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


def head_width(config: Mapping[str, Any]) -> int:
    """Numbers in a head's query."""
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary settings, under whichever key this version of the file has them."""
    scaling = config.get("rope_scaling") or {}
    return {"rope_theta": config.get("rope_theta", 10_000.0), **scaling, **(config.get("rope_parameters") or {})}
