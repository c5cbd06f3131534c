"""Every family that is said to be tunable packs and decodes as transformers runs its rows alone."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from luthier.data.batch import pack
from luthier.data.forest import Row
from luthier.models import attention
from luthier.models.families import DECODERS, ENCODERS
from luthier.models.load import _policy
from luthier.models.policy import Policy
from luthier.models.sample import sample

SIZES = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "head_dim": 8, "embedding_size": 32,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2,
    "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "n_inner": 48, "dim": 32, "n_heads": 4, "n_layers": 2,
    "hidden_dim": 48, "ffn_dim": 48, "word_embed_proj_dim": 32, "rotary_dim": 8, "num_hidden_groups": 1,
    "sliding_window": 4, "window_size": 4, "attention_types": [[["global", "local"], 1]],
    "local_attention": 6, "global_attn_every_n_layers": 2,
    "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
    "n_routed_experts": 4, "n_shared_experts": 1, "topk_group": 1, "n_group": 1, "first_k_dense_replace": 1,
    "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
    "logits_scaling": 8.0, "embedding_multiplier": 2.0, "residual_multiplier": 0.5, "attention_multiplier": 0.2,
}  # fmt: skip
"""By every name that some family has for it: two layers, and everything that a family does on its own."""


def rows() -> list[Row]:
    draw = np.random.default_rng(0)
    return [
        Row(draw.integers(5, 60, length), np.r_[0, np.ones(length - 1)].astype(np.float32), number)
        for number, length in enumerate((9, 14, 5))
    ]


@cache
def models(family: str) -> tuple[Any, Policy]:
    """The family's random model in transformers' plain way, and the same weights as a policy."""
    attention.register()
    kind: Any = AutoModelForCausalLM if family in DECODERS else AutoModel
    torch.manual_seed(0)
    plain = kind.from_config(config(family), attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter *= 8 if parameter.ndim > 1 else 1
    packed = kind.from_config(config(family), attn_implementation="packed")
    packed.load_state_dict(plain.state_dict())
    return plain, _policy(packed, "decoder" if family in DECODERS else "encoder")


def config(family: str) -> Any:
    whole = AutoConfig.for_model(family)
    known = {*whole.to_dict(), *whole.attribute_map}
    sizes = {name: size for name, size in SIZES.items() if name in known}
    return AutoConfig.for_model(family, **sizes)


@pytest.mark.parametrize("family", sorted(ENCODERS))
def test_an_encoder_has_the_states_of_rows_alone(family: str) -> None:
    plain, policy = models(family)
    batch = pack(rows())
    with policy.evaluating():
        packed = policy.hidden(batch).split(batch.lengths_R.tolist())
        for own, row in zip(packed, rows(), strict=True):
            alone = plain(input_ids=torch.from_numpy(row.ids)[None]).last_hidden_state[0]
            torch.testing.assert_close(own, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", sorted(DECODERS))
def test_a_decoder_has_the_likelihoods_and_words_of_rows_alone(family: str) -> None:
    plain, policy = models(family)
    with policy.evaluating():
        batch = pack(rows())
        found = policy.logprobs(batch)
        for row in rows():
            ids = torch.from_numpy(row.ids)
            alone = torch.log_softmax(plain(ids[None]).logits[0, :-1], -1).gather(1, ids[1:, None])[:, 0]
            torch.testing.assert_close(found[batch.row_N == row.number], alone, rtol=1e-4, atol=1e-4)
        prompts = [row.ids.tolist() for row in rows()]
        for prompt, answer in zip(prompts, sample(policy, prompts, max_new_tokens=6, stop_ids=[]), strict=True):
            logits = plain(torch.tensor([prompt + answer]), use_cache=False).logits[0, len(prompt) - 1 : -1]
            said = logits.gather(1, torch.tensor(answer)[:, None])[:, 0]
            torch.testing.assert_close(said, logits.amax(1), rtol=1e-4, atol=1e-4)
