"""Tiny random models of any family that transformers knows, with everything that the family does on its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from luthier.models.families import DECODERS

SIZES = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "head_dim": 8, "embedding_size": 32,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2,
    "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "n_inner": 48, "dim": 32, "n_heads": 4, "n_layers": 2,
    "hidden_dim": 48, "ffn_dim": 48, "word_embed_proj_dim": 32, "rotary_dim": 8, "num_hidden_groups": 1,
    "sliding_window": 4, "window_size": 4, "attention_types": [[["global", "local"], 1]], "layer_types": None,
    "local_attention": 6, "global_attn_every_n_layers": 2, "sliding_window_pattern": 2,
    "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
    "n_routed_experts": 4, "n_shared_experts": 1, "topk_group": 1, "n_group": 1, "first_k_dense_replace": 1,
    "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 12,
    "logits_scaling": 8.0, "embedding_multiplier": 2.0, "residual_multiplier": 0.5, "attention_multiplier": 0.2,
    "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "router_jitter_noise": 0.1,
}  # fmt: skip
"""By every name that some family has for it: two layers, and everything that a family does on its own."""
OWN_SIZES = {family: {"num_key_value_heads": 4} for family in ("deepseek_v2", "deepseek_v3")}


def config(family: str, **given: Any) -> Any:
    whole = AutoConfig.for_model(family)
    known = {*whole.to_dict(), *whole.attribute_map}
    sizes = {name: size for name, size in SIZES.items() if name in known}
    noise = {name: 0.1 for name, value in whole.to_dict().items() if "drop" in name and isinstance(value, float)}
    loops = {"experts_implementation": "eager"} if any("experts" in name for name in known) else {}
    return AutoConfig.for_model(family, **sizes | noise | loops | OWN_SIZES.get(family, {}) | given)


def folder_of(family: str, tmp_path: Path, llama: Path, **given: Any) -> Path:
    """A random model of the family with the tokenizer of another."""
    torch.manual_seed(0)
    kind: Any = AutoModelForCausalLM if family in DECODERS else AutoModel
    kind.from_config(config(family, vocab_size=400, **given)).save_pretrained(tmp_path / family)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(llama / name, tmp_path / family / name)
    return tmp_path / family
