"""Models whose attention cannot be packed, from their files: padded, they compute what transformers computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import folder_of
from policies import files_of, language_rows
from transformers import AutoModel, AutoModelForCausalLM

from luthier.data.batch import pack
from luthier.data.forest import Segment
from luthier.models.families import DECODERS, packs
from luthier.models.load import load_base, load_policy, make_policy, save_policy
from luthier.models.padded import Padded, alike, places
from luthier.models.sample import sample
from luthier.recipe import Adapter


@pytest.mark.parametrize("family", ["falcon", "gemma2", "mixtral", "mpnet", "deberta-v2", "megatron-bert"])
def test_loaded_models_agree_with_transformers(family: str, tmp_path: Path, tiny_llama: Path) -> None:
    experts = {"experts_implementation": "grouped_mm"} if family == "mixtral" else {}
    folder, rows = folder_of(family, tmp_path, tiny_llama, **experts), language_rows(300)
    policy = load_base(files_of(folder))
    assert isinstance(policy.trunk, Padded) is not packs(family)
    assert not any("pooler" in name for name, _ in policy.wrapped.named_parameters())
    plain: Any = (AutoModelForCausalLM if family in DECODERS else AutoModel).from_pretrained(folder).eval()
    with policy.evaluating():
        hidden = policy.hidden(pack(rows)).split([len(row.ids) for row in rows])
        for own, row in zip(hidden, rows, strict=True):
            out = plain(torch.from_numpy(row.ids)[None])
            found = policy.vocab_logits(own) if family in DECODERS else own
            wanted = out.logits[0] if family in DECODERS else out.last_hidden_state[0]
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_an_adapter_on_a_padded_model_comes_back_from_its_files(tmp_path: Path, tiny_llama: Path) -> None:
    files = files_of(folder_of("falcon", tmp_path, tiny_llama))
    policy, batch = make_policy(files, Adapter(lora_r=2, lora_alpha=4.0), seed=0), pack(language_rows(300))
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter += 0.05
    save_policy(policy, tmp_path / "adapter", files)
    again = load_policy(files, tmp_path / "adapter")
    with policy.evaluating(), again.evaluating():
        assert torch.equal(policy.logprobs(batch), again.logprobs(batch))
    assert not again.wrapped.training


def test_answers_do_not_depend_on_what_is_decoded_beside_them(tmp_path: Path, tiny_llama: Path) -> None:
    policy = load_base(files_of(folder_of("falcon", tmp_path, tiny_llama)))
    prompts = [row.ids.tolist() for row in language_rows(300, shared=10)]
    together = sample(policy, prompts, max_new_tokens=5, stop_ids=[7])
    assert together == [sample(policy, [prompt], max_new_tokens=5, stop_ids=[7])[0] for prompt in prompts]


def test_the_dropout_of_the_base_stays_in_its_configuration(tmp_path: Path, tiny_llama: Path) -> None:
    policy = load_base(files_of(folder_of("falcon", tmp_path, tiny_llama)))
    policy.train()
    batch = pack(language_rows(300))
    with torch.no_grad():
        assert torch.equal(policy.logprobs(batch), policy.logprobs(batch))
    assert policy.wrapped.config.hidden_dropout == 0.1  # type: ignore[union-attr]


def test_rows_of_like_length_are_padded_together() -> None:
    assert alike([4, 100, 80, 60, 3, 70]) == [[1, 2], [5, 3], [0, 4]]
    assert alike([]) == []


def test_a_row_is_what_its_last_segment_continues() -> None:
    forest = (Segment(0, 3), Segment(3, 5, 0), Segment(5, 6, 1), Segment(6, 8, 0), Segment(8, 9))
    assert [place.tolist() for place in places(forest)] == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 6, 7], [8]]
    assert np.concatenate(places(forest[:1])).tolist() == [0, 1, 2]
