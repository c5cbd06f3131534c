"""Weights of four bits: what they hold, what is learnt on them, and what becomes of it."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from policies import LABELS, distance, files_of, gradient, language_rows, settled
from test_merge import Rows
from torch import nn
from transformers import AutoModelForCausalLM

from luthier.data.batch import pack
from luthier.errors import ModelError
from luthier.models.adapt.lora import LeanForward
from luthier.models.load import load_base, load_policy, make_policy, save_policy
from luthier.models.locate import ModelFiles, locate
from luthier.models.merge import merge, merge_difference
from luthier.models.policy import Policy
from luthier.objectives import TABLE
from luthier.recipe import Adapter
from luthier.recipe import Objective as Settings

needs_bitsandbytes = pytest.mark.skipif(not importlib.util.find_spec("bitsandbytes"), reason="needs luthier[bnb]")
SFT = TABLE["sft"](Settings(), False)
LORA = Adapter(lora_r=4, lora_alpha=8.0)
NF4 = torch.tensor([
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
])  # fmt: skip
"""The values of QLoRA's appendix E."""


@pytest.fixture
def files(tiny_llama: Path) -> ModelFiles:
    return replace(files_of(tiny_llama), number_format="nf4")


def trained(files: ModelFiles) -> Policy:
    return settled(make_policy(files, LORA, seed=1), torch.float32)


def linear(model: Any) -> dict[str, Any]:
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}


@needs_bitsandbytes
@pytest.mark.parametrize("model", ["tiny_llama", "tiny_bert"])
def test_linear_layers_and_no_others_have_four_bits(model: str, request: pytest.FixtureRequest) -> None:
    plain = files_of(request.getfixturevalue(model))
    packed = load_base(replace(plain, number_format="nf4")).wrapped
    rounded = load_base(replace(plain, number_format="nf4"), dequantised=True).wrapped
    untouched = load_base(plain).wrapped
    for name, module in linear(packed).items():
        kept, held, was = name == "lm_head", linear(rounded)[name].weight, linear(untouched)[name].weight
        assert (module.weight.dtype == torch.uint8) is not kept, name
        assert torch.equal(held, was) is kept, name
        if not kept:
            assert module.weight.numel() * 2 == was.numel()
            blocks, scale = held.reshape(-1, 64), was.reshape(-1, 64).abs().amax(1, keepdim=True)
            assert float((blocks / scale)[..., None].sub(NF4).abs().amin(-1).max()) < 0.01  # the scale is rounded, too
    batch = pack(language_rows(90))
    first, second = Policy(**vars(load_base(plain))), load_base(replace(plain, number_format="nf4"))
    with first.evaluating(), second.evaluating():
        assert 0.01 < distance(first.hidden(batch), second.hidden(batch)) < 0.5


@needs_bitsandbytes
def test_the_gradient_is_that_of_the_same_values_in_float32(files: ModelFiles, tmp_path: Path) -> None:
    policy = trained(files)
    save_policy(policy, tmp_path, files)
    plain = load_policy(files, tmp_path, dequantised=True)
    for name, weights in plain.wrapped.named_parameters():
        weights.requires_grad_("lora_" in name)
    batches = [pack(language_rows()[:3]), pack(language_rows()[3:])]
    adapted = [module for module in policy.wrapped.modules() if isinstance(module, LoraLayer)]
    assert len(adapted) == 14
    assert all(isinstance(module.forward, LeanForward) for module in adapted)
    ours, theirs = gradient(policy, SFT, batches, lanes=2), gradient(plain, SFT, batches)
    assert distance(ours, theirs) < 1e-5
    assert not any(p.requires_grad for name, p in policy.wrapped.named_parameters() if "lora_" not in name)


@needs_bitsandbytes
def test_packed_rows_equal_rows_alone(files: ModelFiles) -> None:
    policy, rows = trained(files), language_rows(shared=20)
    together = gradient(policy, SFT, [pack(rows, share_prefix=True)])
    assert distance(together, gradient(policy, SFT, [pack([row]) for row in rows])) < 1e-5


@needs_bitsandbytes
def test_the_start_equals_the_quantised_base(files: ModelFiles) -> None:
    batch, tuned, base = pack(language_rows()), make_policy(files, LORA, seed=1), load_base(files)
    with tuned.evaluating(), base.evaluating():
        assert torch.equal(tuned.logprobs(batch), base.logprobs(batch))


@needs_bitsandbytes
def test_evaluating_computes_what_training_computes(files: ModelFiles) -> None:
    policy, batch = trained(files), pack(language_rows())
    policy.train()
    learning = policy.logprobs(batch).detach()
    with policy.evaluating():
        assert torch.equal(policy.logprobs(batch), learning)


@needs_bitsandbytes
def test_what_is_saved_is_plain_lora_and_comes_back_on_four_bits(files: ModelFiles, tmp_path: Path) -> None:
    policy, batch = trained(files), pack(language_rows())
    save_policy(policy, tmp_path, files)
    again = load_policy(replace(files, number_format="float32"), tmp_path)
    with policy.evaluating(), again.evaluating():
        assert torch.equal(again.logprobs(batch), policy.logprobs(batch))
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(files.folder), str(tmp_path))
    saved = {name: weights for name, weights in plain.named_parameters() if "lora_" in name}
    assert all(torch.equal(weights, saved[name]) for name, weights in policy.trainable().items())


@needs_bitsandbytes
def test_merging_is_onto_the_values_of_four_bits(files: ModelFiles, tmp_path: Path) -> None:
    policy = trained(files)
    save_policy(policy, tmp_path / "adapter", files)
    apart = merge_difference(files, tmp_path / "adapter", Rows())
    assert apart is not None
    assert 0 < apart < 1e-5
    merge(files, tmp_path / "adapter", tmp_path / "merged")
    merged = load_base(locate(str(tmp_path / "merged"), tmp_path / "cache"))
    assert not any(module.weight.dtype == torch.uint8 for module in linear(merged.wrapped).values())
    batch = pack(language_rows())
    with policy.evaluating(), merged.evaluating():
        torch.testing.assert_close(merged.logprobs(batch), policy.logprobs(batch), rtol=1e-4, atol=1e-4)


@needs_bitsandbytes
def test_a_classifier_on_four_bits(tiny_bert: Path, tmp_path: Path) -> None:
    files = replace(files_of(tiny_bert), number_format="nf4")
    policy = make_policy(files, LORA, LABELS, seed=1)
    save_policy(policy, tmp_path, files)
    again, batch = load_policy(files, tmp_path), pack(language_rows(90))
    with policy.evaluating(), again.evaluating():
        assert torch.equal(again.class_logits(batch), policy.class_logits(batch))


def test_without_bitsandbytes_the_extra_is_named(tiny_llama: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("luthier.models.extras.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"bitsandbytes, which is not installed.*luthier\[bnb\]"):
        locate(str(tiny_llama), tmp_path, number_format="nf4")


def test_features_of_rounded_weights_have_a_key_of_their_own(files: ModelFiles) -> None:
    assert files.weights_key != replace(files, number_format="float32").weights_key == files.sha256
    assert np.char.startswith(files.weights_key, files.sha256)
