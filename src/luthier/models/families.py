"""Which architectures Luthier can tune, by `model_type` of config.json, and how long a row they read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from luthier.errors import ModelError

Kind = Literal["decoder", "encoder"]

DECODERS = frozenset(
    {"apertus", "arcee", "bloom", "cohere", "cohere2", "deepseek_v2", "deepseek_v3", "ernie4_5", "exaone4", "falcon"}
    | {
        "gemma",
        "gemma2",
        "gemma3_text",
        "glm",
        "glm4",
        "glm4_moe",
        "gpt2",
        "gpt_bigcode",
        "gpt_neo",
        "gpt_neox",
        "gptj",
    }
    | {"granite", "granitemoe", "helium", "hunyuan_v1_dense", "llama", "ministral", "ministral3", "mistral", "mixtral"}
    | {"mpt", "nemotron", "olmo", "olmo2", "olmo3", "olmoe", "opt", "persimmon", "phi", "phi3", "qwen2", "qwen2_moe"}
    | {"qwen3", "qwen3_moe", "seed_oss", "smollm3", "stablelm", "starcoder2"}
)
ENCODERS = frozenset(
    {
        "albert",
        "bert",
        "camembert",
        "deberta",
        "deberta-v2",
        "distilbert",
        "electra",
        "ernie",
        "eurobert",
        "megatron-bert",
    }
    | {"modernbert", "mpnet", "nomic_bert", "rembert", "roberta", "roberta-prelayernorm", "xlm-roberta"}
    | {"xlm-roberta-xl"}
)
PADDED = frozenset(
    {"bloom", "deberta", "deberta-v2", "falcon", "gemma2", "gpt_neo", "gptj", "megatron-bert", "mpnet", "mpt"}
    | {"nemotron", "rembert", "stablelm", "xlm-roberta-xl"}
)
"""Of these, the families whose own attention cannot be told about rows: their rows are padded, not packed."""
COLUMNS = frozenset({"gate_proj", "k_proj", "q_proj", "up_proj", "v_proj"})
ROWS = frozenset({"down_proj", "o_proj"})
"""Linear layers of a block that read the residual stream, and those that write to it."""
SPLIT = frozenset({"llama", "mistral", "qwen2"})
"""Families whose blocks can be computed by several processes: all that crosses heads is in these layers."""
UNSUPPORTED = {
    "an encoder-decoder model": "bart blenderbot longt5 m2m_100 marian mbart mt5 pegasus t5 t5gemma umt5 whisper",
    "a state-space, recurrent or convolutional model": "bailing_hybrid bamba convbert falcon_h1 falcon_mamba "
    "granitemoehybrid jamba kimi_linear lfm2 lfm2_moe mamba mamba2 minimax nemotron_h olmo_hybrid qwen3_5_moe_text "
    "qwen3_5_text qwen3_next recurrent_gemma rwkv xlstm zamba zamba2",
    "a model that also reads images or sound": "gemma3 idefics3 llava mllama qwen2_5_vl qwen2_vl qwen3_5 qwen3_vl",
}
POSITIONS_BEHIND_PADDING = frozenset({"camembert", "roberta", "roberta-prelayernorm", "xlm-roberta"})
"""Families whose positions start behind the padding id, all others' at 0."""
WITHOUT_PREFIX = frozenset(
    {"albert", "deepseek_v2", "deepseek_v3", "distilbert", "eurobert", "gpt_bigcode", "modernbert", "nomic_bert"}
)
"""Families into whose layers PEFT cannot put keys and values."""
LENGTH_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
LENGTHS = {"bloom": 2048, "falcon": 2048}
"""Of families with relative positions whose config.json may leave the length of training out."""
WIDTH_KEYS = ("hidden_size", "n_embd", "n_embed", "d_model", "dim")
DEPTH_KEYS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")


def kind_of(config: Mapping[str, Any], where: str) -> Kind:
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


def packs(family: str) -> bool:
    """Whether rows of this family are packed; where not, each is padded and runs as transformers runs it."""
    return family not in PADDED


def enters(family: str) -> bool:
    """Whether a trunk of this family can be entered at a block, with states that were computed before."""
    return packs(family)


def context_length(config: Mapping[str, Any], where: str) -> int:
    """The most tokens in one row, from config.json."""
    found = _first(config, LENGTH_KEYS) or LENGTHS.get(config["model_type"])
    if found is None:
        raise ModelError("config.json does not say how many positions the model has", where, f"Add {LENGTH_KEYS[0]}")
    behind_padding = config["model_type"] in POSITIONS_BEHIND_PADDING
    return found - (config.get("pad_token_id", 1) + 1 if behind_padding else 0)


def width_and_depth(config: Mapping[str, Any]) -> tuple[int, int]:
    """The size of a hidden state and the number of layers, from config.json; 1 where it does not say."""
    return _first(config, WIDTH_KEYS) or 1, _first(config, DEPTH_KEYS) or 1


def _first(config: Mapping[str, Any], keys: Iterable[str]) -> int | None:
    return next((config[key] for key in keys if isinstance(config.get(key), int)), None)


def _why_not(config: Mapping[str, Any], family: str) -> str:
    for what, families in UNSUPPORTED.items():
        if family in families.split():
            return f"{what}, which cannot be tuned here"
    if config.get("is_encoder_decoder"):
        return "an encoder-decoder model, which cannot be tuned here"
    if config.get("auto_map"):
        return "an architecture that needs code from its own repository, which is never run"
    return "an architecture that is not known here"
