"""Virtual tokens in a pack: PEFT's own results row by row, and no trace of one row in another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import config
from peft import PeftModel
from policies import LABELS, class_policy, distance, files_of, gradient, language_policy, language_rows, settled
from test_families import rows as family_rows
from torch import Tensor
from transformers import AlbertConfig, AlbertModel, AutoModel, AutoModelForCausalLM

from luthier.data.batch import Batch, pack
from luthier.data.forest import Row
from luthier.errors import ModelError
from luthier.models.adapt.table import ADD
from luthier.models.attention import register
from luthier.models.families import DECODERS, ENCODERS, PADDED, WITHOUT_PREFIX
from luthier.models.load import _policy, load_base, load_policy, make_policy, save_policy
from luthier.models.merge import merge, merge_difference
from luthier.models.policy import Policy
from luthier.models.sample import sample
from luthier.objectives import TABLE
from luthier.recipe import Adapter
from luthier.recipe import Objective as Settings

SFT = TABLE["sft"](Settings(), False)
KINDS = ("prefix", "prompt")
TOKENS = 5
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def soft(kind: str) -> Adapter:
    return Adapter(type=kind, num_virtual_tokens=TOKENS)  # type: ignore[arg-type]


def moved(policy: Policy) -> Policy:
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter += 0.3 * torch.randn(parameter.shape, generator=draw).to(parameter.dtype)
    return policy


def plain_peft(base: Path, policy: Policy, folder: Path) -> Any:
    """What a user without Luthier loads."""
    save_policy(policy, folder, files_of(base))
    kind: Any = AutoModelForCausalLM if policy.lm_head is not None else AutoModel
    options = {} if policy.lm_head is not None else {"add_pooling_layer": False}
    return PeftModel.from_pretrained(kind.from_pretrained(base, dtype=torch.float32, **options), folder).eval()


def alone(model: Any, row: Row) -> Tensor:
    """PEFT's logits or states (L, …) of one row; with prompt tuning it returns those of the virtual tokens, too."""
    ids = torch.from_numpy(row.ids)[None]
    out = model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return (out.logits if "logits" in out else out.last_hidden_state)[0, -len(row.ids) :]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share_prefix", [False, True])
def test_packed_logits_are_those_of_peft_row_by_row(
    kind: str, share_prefix: bool, tiny_llama: Path, tmp_path: Path
) -> None:
    policy = moved(make_policy(files_of(tiny_llama), soft(kind), seed=1))
    reference = plain_peft(tiny_llama, policy, tmp_path)
    rows = language_rows(shared=20)
    batch = pack(rows, share_prefix=share_prefix)
    with policy.evaluating():
        found = policy.logprobs(batch)
        for row in rows:
            scores = torch.log_softmax(alone(reference, row)[:-1], -1)
            scores = scores.gather(1, torch.from_numpy(row.ids)[1:, None])[:, 0]
            own = found[batch.row_N == row.number]
            torch.testing.assert_close(own, scores[torch.from_numpy(row.weights[1:] > 0)], **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_peft_row_by_row(kind: str, tiny_llama: Path, tmp_path: Path) -> None:
    policy = settled(moved(make_policy(files_of(tiny_llama), soft(kind), seed=1)), torch.float64)
    rows = language_rows(shared=20)
    save_policy(policy, tmp_path, files_of(tiny_llama))
    plain = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float64)
    plain = PeftModel.from_pretrained(plain, tmp_path).double()
    plain.prompt_encoder.requires_grad_(True)
    units = sum(float(row.weights.sum()) for row in rows)
    for row in rows:
        scores = torch.log_softmax(alone(plain, row)[:-1], -1).gather(1, torch.from_numpy(row.ids)[1:, None])[:, 0]
        (-(scores * torch.from_numpy(row.weights[1:])).sum() / units).backward()
    (theirs,) = [p.grad.flatten() for p in plain.parameters() if p.requires_grad]
    assert distance(theirs, gradient(policy, SFT, [pack(rows, share_prefix=True)])) < 1e-6
    assert len(policy.trainable()) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoders_states_are_those_of_peft_row_by_row(kind: str, tiny_bert: Path, tmp_path: Path) -> None:
    """The virtual tokens are in no mean, and those of a row see no other row."""
    policy = moved(make_policy(files_of(tiny_bert), soft(kind), LABELS, seed=1))
    reference = plain_peft(tiny_bert, policy, tmp_path)
    rows = language_rows(90)
    with policy.evaluating():
        pooled = policy.pooled(pack(rows))
        for row in rows:
            torch.testing.assert_close(pooled[row.number], alone(reference, row).mean(0), **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", sorted((DECODERS | ENCODERS) - PADDED))
def test_every_family_agrees_with_peft(family: str, kind: str, tmp_path: Path) -> None:
    """With sliding windows narrower than the prefix, grouped heads, and every kind of positions."""
    agrees_with_peft(family, kind, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["gemma3_text", "gpt2", "ministral", "roberta"])
def test_some_families_agree_with_peft(family: str, kind: str, tmp_path: Path) -> None:
    agrees_with_peft(family, kind, tmp_path)


def agrees_with_peft(family: str, kind: str, folder: Path) -> None:
    register()
    decoder = family in DECODERS
    make: Any = AutoModelForCausalLM if decoder else AutoModel
    torch.manual_seed(0)
    ours, theirs = (make.from_config(config(family), attn_implementation=name) for name in ("packed", "eager"))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter *= 8 if parameter.ndim > 1 else 1
    ours.load_state_dict(theirs.state_dict())
    policy = _policy(ours, "decoder" if decoder else "encoder")
    torch.manual_seed(0)
    if kind == "prefix" and family in WITHOUT_PREFIX:
        with pytest.raises(ModelError, match="takes no prefix"):
            ADD[kind](policy, soft(kind))
        return
    ADD[kind](policy, soft(kind))
    moved(policy).wrapped.save_pretrained(str(folder))  # type: ignore[operator]
    reference = PeftModel.from_pretrained(theirs.eval(), folder)
    with policy.evaluating():
        hidden = policy.hidden(pack(family_rows()))
        for own, row in zip(hidden.split([len(row.ids) for row in family_rows()]), family_rows(), strict=True):
            found, expected = policy.vocab_logits(own) if decoder else own, alone(reference, row)
            assert float((found - expected).abs().max()) < 1e-5 * float(expected.abs().max())
        if decoder:
            decoding_equals_recomputing(policy, [row.ids.tolist() for row in family_rows()])


def decoding_equals_recomputing(policy: Policy, prompts: list[list[int]]) -> None:
    for prompt, answer in zip(prompts, sample(policy, prompts, max_new_tokens=6, stop_ids=[]), strict=True):
        logits = policy.vocab_logits(policy.hidden(whole([prompt + answer])))[len(prompt) - 1 : -1]
        said = logits.gather(1, torch.tensor(answer)[:, None])[:, 0]
        torch.testing.assert_close(said, logits.amax(1), rtol=1e-4, atol=1e-4)


def whole(texts: list[list[int]]) -> Batch:
    return pack([Row(np.array(ids), np.zeros(len(ids), np.float32), i) for i, ids in enumerate(texts)])


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_words_are_those_of_recomputing_everything(kind: str, tiny_llama: Path) -> None:
    policy = moved(make_policy(files_of(tiny_llama), soft(kind), seed=1))
    prompts = [row.ids.tolist() for row in language_rows(shared=12)]
    with policy.evaluating():
        decoding_equals_recomputing(policy, prompts)
    one_by_one = [sample(policy, [prompt], max_new_tokens=6, stop_ids=[])[0] for prompt in prompts]
    assert sample(policy, prompts, max_new_tokens=6, stop_ids=[]) == one_by_one


def test_both_start_as_the_base_with_the_same_tokens_before_each_row(tiny_llama: Path) -> None:
    files = files_of(tiny_llama)
    prefix, prompt = (make_policy(files, soft(kind), seed=3) for kind in KINDS)
    torch.manual_seed(3)
    drawn = torch.randint(files.config["vocab_size"], (TOKENS,)).numpy()
    rows = language_rows()
    longer = [Row(np.r_[drawn, row.ids], np.r_[np.zeros(TOKENS, np.float32), row.weights], row.number) for row in rows]
    expected = load_base(files).logprobs(pack(longer))
    for policy in (prefix, prompt):
        torch.testing.assert_close(policy.logprobs(pack(rows)), expected, **CLOSE)
    assert distance(*(gradient(prompt, SFT, [pack(rows, share_prefix=share)]) for share in (False, True))) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", ["tiny_llama", "tiny_bert"])
def test_what_is_saved_comes_back(kind: str, model: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    files = files_of(request.getfixturevalue(model))
    labels = LABELS if model == "tiny_bert" else ()
    policy = moved(make_policy(files, soft(kind), labels, seed=1))
    for name in "ab":
        save_policy(policy, tmp_path / name, files)
    left, right = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in "ab")
    assert left == right
    assert json.loads(left["adapter_config.json"])["base_model_name_or_path"] == files.name
    again, batch = load_policy(files, tmp_path / "a"), pack(language_rows(90))
    assert not {name for name in again.trainable() if not name.startswith("head.")}
    with policy.evaluating(), again.evaluating():
        found, expected = (p.class_logits(batch) if labels else p.logprobs(batch) for p in (again, policy))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_virtual_tokens_cannot_be_merged(kind: str, tiny_llama: Path, tmp_path: Path) -> None:
    files = files_of(tiny_llama)
    save_policy(make_policy(files, soft(kind)), tmp_path / "adapter", files)
    assert merge_difference(files, tmp_path / "adapter", None) is None  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="stand before the rows and change no weight"):
        merge(files, tmp_path / "adapter", tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_embeddings_that_are_projected_are_refused() -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    policy = _policy(AlbertModel(AlbertConfig(vocab_size=20, embedding_size=16, **sizes)), "encoder")
    with pytest.raises(ModelError, match="embeddings are projected"):
        ADD["prompt"](policy, soft("prompt"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_random_state_and_the_switch_of_dropout_come_back(kind: str, tiny_llama: Path) -> None:
    policy = language_policy(tiny_llama, soft(kind))
    policy.train()
    before = torch.get_rng_state()
    with policy.evaluating():
        assert not policy.wrapped.training
        policy.logprobs(pack(language_rows()))
    assert policy.wrapped.training
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_on_a_decoder_looks_at_its_last_own_token(kind: str, tiny_llama: Path) -> None:
    policy, rows = class_policy(tiny_llama, soft(kind)), language_rows()
    together = policy.class_logits(pack(rows))
    torch.testing.assert_close(together, torch.cat([policy.class_logits(pack([row])) for row in rows]))
