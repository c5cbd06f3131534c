"""Which architectures Luthier can tune, by `model_type` of config.json, and how long a row they read."""

from __future__ import annotations

from typing import Any, Literal

from luthier.errors import ModelError

Kind = Literal["decoder", "encoder"]

DECODERS = frozenset(
    {"exaone4", "gemma", "gemma3_text", "glm", "glm4", "gpt2", "gpt_bigcode", "gpt_neox", "helium", "llama"}
    | {"ministral", "mistral", "mixtral", "olmo", "olmo2", "olmo3", "olmoe", "opt", "phi", "phi3"}
    | {"qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "smollm3", "starcoder2"}
)
ENCODERS = frozenset(
    {"albert", "bert", "camembert", "distilbert", "electra", "ernie", "eurobert", "modernbert"}
    | {"roberta", "roberta-prelayernorm", "xlm-roberta"}
)
UNSUPPORTED = {
    "an encoder-decoder model": "t5 mt5 umt5 longt5 bart mbart pegasus m2m_100 marian blenderbot whisper",
    "a state-space or recurrent model": "mamba mamba2 falcon_mamba jamba zamba zamba2 rwkv recurrent_gemma",
    "a model that also reads images or sound": "llava gemma3 qwen2_vl qwen2_5_vl qwen3_vl idefics3 mllama",
    "an architecture with an attention or an output of its own": "cohere cohere2 deberta deberta-v2 deepseek_v2 "
    "deepseek_v3 falcon gemma2 gpt_neo gptj granite mpnet nemotron stablelm",
}
POSITIONS_BEHIND_PADDING = frozenset({"camembert", "roberta", "roberta-prelayernorm", "xlm-roberta"})
"""Families whose positions start behind the padding id, all others' at 0."""
WITHOUT_PREFIX = frozenset({"albert", "distilbert", "eurobert", "gpt_bigcode", "modernbert"})
"""Families into whose layers PEFT cannot put keys and values."""
LENGTH_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")


def kind_of(config: dict[str, Any], where: str) -> Kind:
    """`decoder` or `encoder`; ModelError names the family of any other model."""
    family = str(config.get("model_type", ""))
    if family in DECODERS:
        return "decoder"
    if family in ENCODERS:
        return "encoder"
    known = f"Luthier tunes decoders ({', '.join(sorted(DECODERS))}) and encoders ({', '.join(sorted(ENCODERS))})"
    if not family:
        raise ModelError("config.json has no `model_type`", where, known)
    raise ModelError(f"`{family}` is {_why_not(config, family)}", where, known)


def context_length(config: dict[str, Any], where: str) -> int:
    """The most tokens in one row, from config.json."""
    for key in LENGTH_KEYS:
        if isinstance(config.get(key), int):
            behind_padding = config["model_type"] in POSITIONS_BEHIND_PADDING
            return config[key] - (config.get("pad_token_id", 1) + 1 if behind_padding else 0)
    raise ModelError("config.json does not say how many positions the model has", where, f"Add {LENGTH_KEYS[0]}")


def _why_not(config: dict[str, Any], family: str) -> str:
    for what, families in UNSUPPORTED.items():
        if family in families.split():
            return f"{what}, which cannot be tuned here"
    if config.get("is_encoder_decoder"):
        return "an encoder-decoder model, which cannot be tuned here"
    if config.get("auto_map"):
        return "an architecture that needs code from its own repository, which is never run"
    return "an architecture that is not known here"
