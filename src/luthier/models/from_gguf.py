"""A quantised Llama in one GGUF file, written out as a folder that every library of the field reads.

Weights are dequantised to float32 without loss; needs `gguf`, `tokenizers` and `safetensors`, and no torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from luthier.errors import ModelError
from luthier.models.gguf_fields import read_fields

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OUTER_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
CONTROL_TOKEN = 3


def write_folder(gguf_file: Path, folder: Path) -> None:
    """Writes config, weights, tokenizer, chat template and generation settings of `gguf_file` into `folder`.

    Raises ModelError for an architecture or a tokenizer other than Llama with SmolLM's byte-level BPE.
    """
    fields = _fields(gguf_file)
    weights = _weights(GGUFReader(gguf_file), fields)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    _write_texts(fields, folder, tied="lm_head.weight" not in weights)


def write_texts(gguf_file: Path, folder: Path) -> None:
    """Writes what `write_folder` does, but for the weights: in a second, and enough to render and to serve.

    Whether the embeddings are tied is not known without them; the config says they are. Raises as `write_folder`.
    """
    _write_texts(_fields(gguf_file), folder, tied=True)


def _write_texts(fields: dict[str, Any], folder: Path, tied: bool) -> None:
    config = _config(fields, tied)
    _tokenizer(fields).save(str(folder / "tokenizer.json"), pretty=False)
    _write_json(folder / "config.json", config)
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(fields))
    ends = {name: config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    _write_json(folder / "generation_config.json", ends)


def _fields(gguf_file: Path) -> dict[str, Any]:
    fields = read_fields(gguf_file)
    found = tuple(
        fields.get(f"{name}") for name in ("general.architecture", "tokenizer.ggml.model", "tokenizer.ggml.pre")
    )
    if found != ("llama", "gpt2", "smollm"):
        raise ModelError(
            f"architecture {found[0]}, tokenizer {found[1]}/{found[2]} cannot be converted from GGUF",
            str(gguf_file),
            "Only llama with gpt2/smollm can; use the model's safetensors folder",
        )
    return fields


def _weights(reader: GGUFReader, fields: dict[str, Any]) -> dict[str, np.ndarray]:
    heads = {
        "attn_q": fields["llama.attention.head_count"],
        "attn_k": fields["llama.attention.head_count_kv"],
    }
    weights = {}
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
        part = tensor.name.split(".")[-2]
        if part in heads:
            values = _halves(values, heads[part])
        weights[_hf_name(tensor.name)] = np.ascontiguousarray(values)
    return weights


def _hf_name(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{LAYER_NAMES[parts[2]]}.{parts[3]}"
    return f"{OUTER_NAMES[parts[0]]}.{parts[1]}"


def _halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rotary pairs as transformers keeps them.

    GGUF rotates neighbouring rows (0, 1), (2, 3), … of each head; transformers rotates i with i + d/2.
    """
    size = rows.shape[0] // heads
    order = np.concatenate([np.arange(0, size, 2), np.arange(1, size, 2)])
    return rows.reshape(heads, size, -1)[:, order].reshape(rows.shape)


def _config(fields: dict[str, Any], tied: bool) -> dict[str, Any]:
    theta = _shortest(fields["llama.rope.freq_base"])
    heads, width = fields["llama.attention.head_count"], fields["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "head_dim": width // heads,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": _shortest(fields["llama.attention.layer_norm_rms_epsilon"]),
        "rope_parameters": {"rope_theta": theta, "rope_type": "default"},
        "rope_theta": theta,
        "tie_word_embeddings": tied,
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
        "dtype": "float32",
    }


def _shortest(value: float) -> float:
    """The shortest decimal that is the same float32: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def _tokenizer(fields: dict[str, Any]) -> Tokenizer:
    """SmolLM's tokenizer: every digit stands alone, then byte-level BPE; control tokens are special."""
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, fuse_unk=False))
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    return tokenizer


def _tokenizer_config(fields: dict[str, Any]) -> dict[str, Any]:
    tokens = fields["tokenizer.ggml.tokens"]
    ids = {"bos": "bos_token_id", "eos": "eos_token_id", "unk": "unknown_token_id", "pad": "padding_token_id"}
    special = {f"{name}_token": tokens[fields[f"tokenizer.ggml.{key}"]] for name, key in ids.items()}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **special,
        "add_bos_token": fields["tokenizer.ggml.add_bos_token"],
        "clean_up_tokenization_spaces": False,
        "model_max_length": fields["llama.context_length"],
        "chat_template": fields["tokenizer.chat_template"],
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
