"""What every adapter inside the layers promises: starts as the base, is exact in packs, and comes back from files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from policies import class_policy, distance, files_of, gradient, language_policy, language_rows
from test_families import ENCODERS, config
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM

from luthier.data.batch import pack
from luthier.errors import ModelError
from luthier.models.adapt.bottleneck import Bottleneck
from luthier.models.adapt.sublayers import sublayers
from luthier.models.families import DECODERS
from luthier.models.load import load_base, load_policy, make_policy, save_policy
from luthier.models.policy import Policy
from luthier.objectives import TABLE
from luthier.recipe import Adapter
from luthier.recipe import Objective as Settings

SFT = TABLE["sft"](Settings(), False)
ADAPTERS = {
    "dora": Adapter(lora_r=4, lora_alpha=8.0, use_dora=True),
    "ia3": Adapter(type="ia3"),
    "houlsby": Adapter(type="bottleneck", bottleneck_size=8),
    "pfeiffer": Adapter(type="bottleneck", bottleneck_size=8, bottleneck_placement="pfeiffer"),
    "adalora": Adapter(type="adalora", init_r=4, target_r=2, lora_alpha=8.0),
}
KNOWN_TO_PEFT = [name for name in ADAPTERS if name not in ("houlsby", "pfeiffer")]


@pytest.fixture(params=ADAPTERS)
def adapter(request: pytest.FixtureRequest) -> Adapter:
    return ADAPTERS[request.param]


def moved(folder: Path, adapter: Adapter) -> Policy:
    """A float32 policy all of whose trained weights have moved."""
    policy = make_policy(files_of(folder), adapter, seed=1)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weights in policy.trainable().values():
            weights += 0.1 * torch.randn(weights.shape, generator=draw)
    return policy


def says(policy: Policy, rows: Any = None) -> Tensor:
    with policy.evaluating():
        return policy.hidden(pack(rows or language_rows(90)))


@pytest.mark.parametrize("model", ["tiny_llama", "tiny_bert"])
def test_the_start_equals_the_base(adapter: Adapter, model: str, request: pytest.FixtureRequest) -> None:
    files = files_of(request.getfixturevalue(model))
    assert torch.equal(says(make_policy(files, adapter, seed=1)), says(load_base(files)))


@pytest.mark.parametrize("share_prefix", [False, True])
def test_packed_rows_have_the_gradient_of_rows_alone(adapter: Adapter, share_prefix: bool, tiny_llama: Path) -> None:
    policy, rows = language_policy(tiny_llama, adapter), language_rows(shared=20 * share_prefix)
    together = gradient(policy, SFT, [pack(rows, share_prefix=share_prefix)])
    alone = gradient(policy, SFT, [pack([row]) for row in rows])
    assert distance(together, alone) < 1e-6
    assert together.norm() > 1e-3


def test_an_encoder_is_adapted_too(adapter: Adapter, tiny_bert: Path) -> None:
    policy, rows = class_policy(tiny_bert, adapter), language_rows(90)
    whole = says(policy, rows).split([len(row.ids) for row in rows])
    for own, row in zip(whole, rows, strict=True):
        torch.testing.assert_close(own, says(policy, [row]), rtol=1e-6, atol=1e-6)
    assert len([name for name in policy.trainable() if not name.startswith("head.")]) > 0


@pytest.mark.parametrize("kind", KNOWN_TO_PEFT)
def test_gradients_are_those_of_plain_peft(kind: str, tiny_llama: Path, tmp_path: Path) -> None:
    """An unpacked, unfused PEFT model with eager attention, read from the files that the policy writes."""
    policy = moved(tiny_llama, ADAPTERS[kind])
    save_policy(policy, tmp_path, files_of(tiny_llama))
    base = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float64, attn_implementation="eager")
    plain: Any = PeftModel.from_pretrained(base, str(tmp_path), is_trainable=True).to(torch.float64)
    for module in policy.modules():
        module.to(torch.float64)
    rows = language_rows()
    loss, count = torch.zeros((), dtype=torch.float64), sum(float(row.weights[1:].sum()) for row in rows)
    for row in rows:
        ids = torch.from_numpy(row.ids)
        scores = torch.log_softmax(plain.base_model.model(ids[None]).logits[0, :-1], -1)
        picked = scores.gather(1, ids[1:, None])[:, 0]
        loss = loss - (picked * torch.from_numpy(row.weights[1:]).double()).sum() / count
    learnt = {name: p for name, p in plain.named_parameters() if p.requires_grad and ".ranknum." not in name}
    assert list(learnt) == list(policy.trainable())
    theirs = torch.cat([slope.flatten() for slope in torch.autograd.grad(loss, list(learnt.values()))])
    assert distance(theirs, gradient(policy, SFT, [pack(rows)])) < 1e-6


def test_a_bottleneck_is_what_its_paper_says(tiny_llama: Path) -> None:
    policy = language_policy(tiny_llama, ADAPTERS["houlsby"])
    found = {name: module for name, module in policy.wrapped.named_modules() if isinstance(module, Bottleneck)}
    assert {name.rpartition(".")[2] for name in found} == {"o_proj", "down_proj"}
    assert len(found) == 4
    layer = next(iter(found.values()))
    x = torch.randn(5, layer.base_layer.in_features, dtype=torch.float64)
    h = x @ layer.base_layer.weight.T
    inner = torch.nn.functional.gelu(h @ layer.down.weight.T + layer.down.bias)
    torch.testing.assert_close(layer(x), h + inner @ layer.up.weight.T + layer.up.bias)


def test_pfeiffer_is_after_the_feed_forward_alone(tiny_bert: Path) -> None:
    policy = make_policy(files_of(tiny_bert), ADAPTERS["pfeiffer"])
    names = {name.partition(".base")[0] for name, m in policy.wrapped.named_modules() if isinstance(m, Bottleneck)}
    assert names == {f"model.encoder.layer.{n}.output.dense" for n in (0, 1)}


def test_what_is_saved_comes_back(adapter: Adapter, tiny_llama: Path, tmp_path: Path) -> None:
    files, policy = files_of(tiny_llama), moved(tiny_llama, adapter)
    for name in ("a", "b"):
        save_policy(policy, tmp_path / name, files)
    left, right = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert left == right
    assert left.keys() == {"adapter_config.json", "adapter_model.safetensors", "luthier.json"}
    again = load_policy(files, tmp_path / "a")
    assert torch.equal(says(again), says(policy))
    assert not torch.equal(says(again), says(load_base(files)))
    assert not again.trainable()
    assert json.loads(left["adapter_config.json"])["base_model_name_or_path"] == files.name


@pytest.mark.parametrize("kind", KNOWN_TO_PEFT)
def test_plain_peft_reads_the_folder(kind: str, tiny_llama: Path, tmp_path: Path) -> None:
    policy = moved(tiny_llama, ADAPTERS[kind])
    save_policy(policy, tmp_path, files_of(tiny_llama))
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_llama), str(tmp_path))
    for row in language_rows():
        with torch.no_grad(), policy.evaluating():
            theirs = plain(torch.from_numpy(row.ids)[None]).logits[0]
            ours = policy.vocab_logits(policy.hidden(pack([row])))
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize("model", ["tiny_llama", "tiny_bert"])
def test_only_the_last_blocks_are_trained(adapter: Adapter, model: str, request: pytest.FixtureRequest) -> None:
    last = adapter.model_copy(update={"num_layers": 1})
    names = make_policy(files_of(request.getfixturevalue(model)), last).trainable()
    assert {part for name in names for part in name.split(".") if part.isdigit()} == {"1"}


EXPERTS = {
    "deepseek_v2", "deepseek_v3", "glm4_moe", "granitemoe", "mixtral", "olmoe", "qwen2_moe", "qwen3_moe",
}  # fmt: skip


@pytest.mark.parametrize("family", sorted({*DECODERS, *ENCODERS} - EXPERTS - {"albert"}))
def test_the_sublayers_of_every_family_are_found(family: str) -> None:
    with torch.device("meta"):
        model = AutoModel.from_config(config(family))
    for block in sublayers(model, Adapter(type="ia3")):
        assert "att" in block.attention
        assert not {block.attention, block.feed_forward} & set(block.keys_and_values)
        scaled = {name.rpartition(".")[2] for name in block.keys_and_values}
        assert len(scaled) == 2 or next(iter(scaled)) in {"c_attn", "in_proj", "qkv_proj", "query_key_value", "Wqkv"}


@pytest.mark.parametrize("family", sorted(EXPERTS))
def test_a_mixture_of_experts_is_refused(family: str) -> None:
    with torch.device("meta"):
        model = AutoModel.from_config(config(family))
    with pytest.raises(ModelError, match="not one attention and one feed-forward"):
        sublayers(model, Adapter(type="ia3"))


def test_fused_projections_of_gpt2_are_adapted(adapter: Adapter) -> None:
    from luthier.models.adapt.table import ADD
    from luthier.models.attention import register
    from luthier.models.load import _policy

    register()
    torch.manual_seed(0)
    policy = _policy(AutoModelForCausalLM.from_config(config("gpt2"), attn_implementation="packed"), "decoder")
    rows = language_rows(60)[:3]
    before = says(policy, rows)
    ADD[adapter.type](policy, adapter)
    assert torch.equal(says(policy, rows), before)
    loss = policy.logprobs(pack(rows)).sum()
    slopes = torch.autograd.grad(loss, list(policy.trainable().values()), allow_unused=True)
    assert any(slope is not None and slope.any() for slope in slopes)
