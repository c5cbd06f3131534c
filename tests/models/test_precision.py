"""Models that compute in sixteen bits: near float32, with everything that is trained in float32."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from families import folder_of
from policies import LABELS, RowsInMemory, distance, files_of, gradient, language_rows, settled

from luthier.data.batch import Batch, pack
from luthier.models.load import load_base, load_policy, make_policy, save_policy
from luthier.models.merge import merge_difference
from luthier.models.policy import Policy
from luthier.models.precision import DTYPES
from luthier.objectives import TABLE
from luthier.recipe import Adapter
from luthier.recipe import Objective as Settings

ADAPTERS: dict[str, Adapter] = {
    "lora": Adapter(lora_r=4, lora_alpha=8.0),
    "dora": Adapter(lora_r=4, use_dora=True),
    "adalora": Adapter(type="adalora", init_r=4, target_r=2),
    "ia3": Adapter(type="ia3"),
    "bottleneck": Adapter(type="bottleneck", bottleneck_size=4),
    "full": Adapter(type="full"),
    "last block": Adapter(type="full", num_layers=1),
    "prefix": Adapter(type="prefix", num_virtual_tokens=3),
    "prompt": Adapter(type="prompt", num_virtual_tokens=3),
}
SFT = TABLE["sft"](Settings(), False)
CLASSIFY = TABLE["classify"](Settings(type="classify"), False)
LOSS = {"bfloat16": 0.02, "float16": 0.003}
SLOPE = {"bfloat16": 0.08, "float16": 0.02}
"""How far loss and gradient may be from those of float32, over their size."""


def policy_of(folder: Path, adapter: Adapter, precision: Any, labels: tuple[str, ...] = (), **form: Any) -> Policy:
    """The same start in every precision, with nothing that is learnt at zero."""
    policy = make_policy(replace(files_of(folder), precision=precision, **form), adapter, labels, seed=1)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            if not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=draw))
    return policy


def language() -> Batch:
    return pack(language_rows(shared=20), share_prefix=True)


def classes() -> Batch:
    return pack(language_rows(90), {"label": torch.arange(6).numpy() % 3, "row_weight": torch.ones(6).numpy()})


def loss_of(policy: Policy, objective: Any, batch: Batch) -> float:
    with policy.evaluating():
        return float(sum(term.double().sum() for term in objective.score(policy, batch).terms.values()))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("kind", ADAPTERS)
def test_loss_and_gradient_of_answers_are_near_those_of_float32(kind: str, precision: str, tiny_llama: Path) -> None:
    wide, narrow = (policy_of(tiny_llama, ADAPTERS[kind], name) for name in ("float32", precision))
    batch = language()
    assert loss_of(narrow, SFT, batch) == pytest.approx(loss_of(wide, SFT, batch), rel=LOSS[precision])
    assert loss_of(narrow, SFT, batch) != loss_of(wide, SFT, batch)
    assert distance(gradient(wide, SFT, [batch]), gradient(narrow, SFT, [batch])) < SLOPE[precision]


@pytest.mark.parametrize("kind", ["lora", "bottleneck", "full", "prompt", "head"])
def test_loss_and_gradient_of_classes_are_near_those_of_float32(kind: str, tiny_bert: Path) -> None:
    adapter = ADAPTERS.get(kind, Adapter(type="head"))
    wide, narrow = (policy_of(tiny_bert, adapter, name, LABELS) for name in ("float32", "bfloat16"))
    batch = classes()
    assert loss_of(narrow, CLASSIFY, batch) == pytest.approx(loss_of(wide, CLASSIFY, batch), rel=LOSS["bfloat16"])
    assert distance(gradient(wide, CLASSIFY, [batch]), gradient(narrow, CLASSIFY, [batch])) < SLOPE["bfloat16"]


@pytest.mark.parametrize("kind", ADAPTERS)
def test_what_is_trained_is_float32_and_what_is_frozen_is_not(kind: str, tiny_llama: Path) -> None:
    policy = policy_of(tiny_llama, ADAPTERS[kind], "bfloat16")
    assert {p.dtype for p in policy.trainable().values()} == {torch.float32}
    masters = ADAPTERS[kind].type == "full"
    base = policy.trunk.get_input_embeddings() if kind not in ("prefix", "prompt") else policy.lm_head
    assert base.weight.dtype == (torch.float32 if masters else torch.bfloat16)
    found = policy.logprobs(language())
    assert found.dtype == torch.float32
    assert policy.hidden(language()).dtype == torch.bfloat16


@pytest.mark.parametrize("number_format", ["int8", "nf4"])
def test_a_base_of_fewer_bits_computes_in_them(number_format: str, tiny_llama: Path) -> None:
    wide, narrow = (policy_of(tiny_llama, ADAPTERS["lora"], name, number_format=number_format)
                    for name in ("float32", "bfloat16"))  # fmt: skip
    batch = language()
    assert loss_of(narrow, SFT, batch) == pytest.approx(loss_of(wide, SFT, batch), rel=LOSS["bfloat16"])
    assert distance(gradient(wide, SFT, [batch]), gradient(narrow, SFT, [batch])) < SLOPE["bfloat16"]


def test_a_base_in_its_files_computes_in_them(tiny_llama: Path) -> None:
    held, streamed = (policy_of(tiny_llama, ADAPTERS["lora"], "bfloat16", streamed=s) for s in (False, True))
    assert torch.equal(gradient(held, SFT, [language()]), gradient(streamed, SFT, [language()]))


def test_a_padded_family_computes_in_them(tmp_path: Path, tiny_llama: Path) -> None:
    folder = folder_of("falcon", tmp_path, tiny_llama)
    wide, narrow = (load_base(replace(files_of(folder), precision=name)) for name in ("float32", "bfloat16"))
    assert loss_of(narrow, SFT, language()) == pytest.approx(loss_of(wide, SFT, language()), rel=LOSS["bfloat16"])


@pytest.mark.parametrize("lanes", [2, 3])
def test_lanes_share_rounded_layers(lanes: int, tiny_llama: Path) -> None:
    policy = policy_of(tiny_llama, ADAPTERS["full"], "bfloat16")
    batches = [pack([row]) for row in language_rows()]
    assert torch.equal(gradient(policy, SFT, batches), gradient(policy, SFT, batches, lanes))


@pytest.mark.parametrize("kind", ["lora", "bottleneck", "full", "prompt"])
def test_what_was_trained_says_the_same_when_it_is_loaded_again(kind: str, tiny_llama: Path, tmp_path: Path) -> None:
    files = replace(files_of(tiny_llama), precision="bfloat16")
    policy = policy_of(tiny_llama, ADAPTERS[kind], "bfloat16")
    save_policy(policy, tmp_path / "a", files)
    again = load_policy(files, tmp_path / "a")
    assert again.computes == torch.bfloat16
    assert loss_of(again, SFT, language()) == pytest.approx(loss_of(policy, SFT, language()), rel=1e-4)
    saved, found = policy.trainable(), dict(again.wrapped.named_parameters())
    assert kind == "full" or all(torch.equal(found[name].float(), weights) for name, weights in saved.items())
    exact = load_policy(files_of(tiny_llama), tmp_path / "a")
    assert {p.dtype for p in exact.wrapped.parameters()} == {torch.float32}


def test_merging_is_done_in_float32(tiny_llama: Path, tmp_path: Path) -> None:
    files = replace(files_of(tiny_llama), precision="bfloat16")
    save_policy(policy_of(tiny_llama, ADAPTERS["lora"], "bfloat16"), tmp_path / "a", files)
    found = merge_difference(files, tmp_path / "a", RowsInMemory(language_rows()))
    assert found is not None
    assert found < 1e-5


def test_what_is_computed_once_is_kept_apart_for_each_precision(tiny_llama: Path) -> None:
    keys = {replace(files_of(tiny_llama), precision=name).weights_key for name in DTYPES}
    assert len(keys) == 3
    assert files_of(tiny_llama).weights_key == files_of(tiny_llama).sha256


def test_float32_leaves_everything_as_it_is(tiny_llama: Path) -> None:
    policy = settled(make_policy(files_of(tiny_llama), ADAPTERS["full"], seed=1), torch.float32)
    assert policy.computes is None
    assert not any(type(module.forward).__name__ == "Rounded" for module in policy.wrapped.modules())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("kind", ADAPTERS)
def test_on_a_gpu_they_are_near_those_of_a_cpu(kind: str, precision: Any, tiny_llama: Path) -> None:
    wide = policy_of(tiny_llama, ADAPTERS[kind], "float32")
    files = replace(files_of(tiny_llama), precision=precision)
    narrow = make_policy(files, ADAPTERS[kind], seed=1, device="cuda")
    with torch.no_grad():
        for ours, theirs in zip(narrow.trainable().values(), wide.trainable().values(), strict=True):
            ours.copy_(theirs)
    found = gradient(narrow, SFT, [language().to("cuda")]).cpu()
    assert distance(gradient(wide, SFT, [language()]), found) < SLOPE[precision]
