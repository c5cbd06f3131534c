"""How much a transformer block keeps of each token until the backward, from config.json alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.models.families import width_and_depth
from luthier.recipe.facts import MOST_KEPT

GATED = frozenset(
    {"ernie4_5", "eurobert", "granite", "helium", "hunyuan_v1_dense", "llama", "ministral", "ministral3", "mistral"}
    | {"qwen2", "qwen3", "seed_oss", "smollm3"}
)
"""Two normalisations, rotary attention and a layer gated by SiLU, all of them lean (`models.lean`)."""
NORMED_HEADS = frozenset({"hunyuan_v1_dense", "qwen3"})
"""Of these, those that normalise queries and keys."""
BERTS = frozenset({"bert", "camembert", "distilbert", "electra", "ernie", "roberta", "xlm-roberta"})


def kept_numbers(config: Mapping[str, Any]) -> tuple[float, float]:
    """Numbers that a block keeps of each token, over the size of a hidden state: with its own weights frozen, and with
    them trained. `MOST_KEPT` where the family was not counted.

    A gated block keeps what both normalisations read, queries, keys, values, the attention's output, gate and up; where
    weights are trained also what their layers read. A BERT's keeps what each of its layers reads.
    """
    family, width = str(config.get("model_type")), width_and_depth(config)[0]
    inner = int(config.get("intermediate_size") or config.get("hidden_dim") or 0) / width
    if family in BERTS and inner:
        return 8 + 2 * inner, 8 + 2 * inner
    if family not in GATED or config.get("hidden_act", "silu") != "silu" or not inner:
        return MOST_KEPT, MOST_KEPT
    heads = int(config["num_attention_heads"])
    head = int(config.get("head_dim") or width // heads) / width
    queries, keys = heads * head, int(config.get("num_key_value_heads") or heads) * head
    frozen = 2 + 2 * queries + 2 * keys + 2 * inner + (queries + keys) * (family in NORMED_HEADS)
    return frozen, frozen + 2 + inner
