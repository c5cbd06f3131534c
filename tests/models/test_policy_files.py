"""What a policy learns, what it leaves alone, and what comes back from its folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from factory import write_tiny_llama
from policies import LABELS, files_of, language_rows
from torch import Tensor, nn

from luthier.data.batch import pack
from luthier.errors import ModelError
from luthier.models.load import load_base, load_policy, make_policy, save_policy
from luthier.models.policy import Policy
from luthier.recipe import Adapter

KINDS = {
    "lora": ("tiny_llama", "lora", ()),
    "full": ("tiny_llama", "full", ()),
    "lora, classes on a decoder": ("tiny_llama", "lora", LABELS),
    "head on an encoder": ("tiny_bert", "head", LABELS),
    "lora, classes": ("tiny_bert", "lora", LABELS),
    "full, classes": ("tiny_bert", "full", LABELS),
}


@pytest.fixture
def made(request: pytest.FixtureRequest) -> tuple[Path, Policy]:
    """The model's folder, and a policy on it all of whose trained weights have moved."""
    model, adapter, labels = KINDS[request.param]
    folder = request.getfixturevalue(model)
    policy = make_policy(files_of(folder), Adapter(type=adapter, lora_r=4), labels, multi_label=bool(labels), seed=1)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter += 0.1 * torch.randn(parameter.shape, generator=draw)
    return folder, policy


def says(policy: Policy) -> Tensor:
    """What it computes on a few rows."""
    batch = pack(language_rows(90))
    with policy.evaluating():
        return policy.class_logits(batch) if policy.head else policy.logprobs(batch)


@pytest.mark.parametrize("made", KINDS, indirect=True)
def test_what_is_saved_comes_back(made: tuple[Path, Policy], tmp_path: Path) -> None:
    folder, policy = made
    files = files_of(folder)
    save_policy(policy, tmp_path / "adapter", files)
    again = load_policy(files, tmp_path / "adapter")
    assert torch.equal(says(again), says(policy))
    if not policy.head:
        assert not torch.equal(says(again), says(load_base(files)))
    assert not {name for name in again.trainable() if not name.startswith("head.")}
    if policy.head:
        assert again.head.config == policy.head.config
        assert again.head.config.labels == LABELS


@pytest.mark.parametrize("made", KINDS, indirect=True)
def test_saving_twice_gives_the_same_bytes(made: tuple[Path, Policy], tmp_path: Path) -> None:
    folder, policy = made
    for name in ("a", "b"):
        save_policy(policy, tmp_path / name, files_of(folder))
    left, right = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert left == right


def test_the_adapter_names_its_base_and_no_path_of_its_loading(tiny_llama: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    files = replace(files_of(tiny_llama), name="owner/tiny")
    save_policy(make_policy(files, Adapter()), tmp_path / "adapter", files)
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == (
        "owner/tiny"
    )
    about = json.loads((tmp_path / "adapter" / "luthier.json").read_text())
    assert about == {"base_model": "owner/tiny", "base_sha256": files.sha256, "kind": "decoder",
                     "load_in_4bit": False, "load_in_8bit": False}  # fmt: skip
    told = [path for path in (tmp_path / "adapter").iterdir() if path.suffix in {".json", ".md"}]
    assert not [path.name for path in told if str(tiny_llama.parent) in path.read_text()]
    assert not (tmp_path / "adapter" / "README.md").exists()


def test_the_adapters_settings_are_in_an_order_that_every_process_has(tiny_llama: Path, tmp_path: Path) -> None:
    save_policy(make_policy(files_of(tiny_llama), Adapter()), tmp_path, files_of(tiny_llama))
    modules = json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"]
    assert len(modules) == 14
    assert modules == sorted(modules)


def test_all_weights_come_back_and_no_others(tiny_bert: Path, tmp_path: Path) -> None:
    files = files_of(tiny_bert)
    policy = make_policy(files, Adapter(type="full"), LABELS)
    save_policy(policy, tmp_path, files)
    again = load_policy(files, tmp_path)
    assert again.wrapped.state_dict().keys() == policy.wrapped.state_dict().keys()


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_another_base_is_refused(adapter: str, tiny_llama: Path, tmp_path: Path) -> None:
    files = files_of(tiny_llama)
    save_policy(make_policy(files, Adapter(type=adapter)), tmp_path / "adapter", files)
    other = files_of(write_tiny_llama(tmp_path / "other", seed=1))
    with pytest.raises(
        ModelError, match=f"trained on .*tiny-llama with weights {files.sha256[:12]}, but the base found"
    ):
        load_policy(other, tmp_path / "adapter")


@pytest.mark.parametrize(
    ("made", "learnt"),
    [("lora", {"lora_A", "lora_B"}), ("head on an encoder", {"head"}), ("lora, classes", {"lora_A", "lora_B", "head"})],
    indirect=["made"],
)
def test_what_is_learnt(made: tuple[Path, Policy], learnt: set[str]) -> None:
    _, policy = made
    kinds = {next((part for part in ("lora_A", "lora_B") if part in name), "head") for name in policy.trainable()}
    assert kinds == learnt


def test_all_weights_are_learnt_and_tied_ones_once(tiny_llama: Path) -> None:
    files = files_of(tiny_llama)
    policy = make_policy(files, Adapter(type="full"))
    assert sum(p.numel() for p in policy.trainable().values()) == files.num_parameters


def test_new_weights_come_from_the_seed(tiny_llama: Path) -> None:
    files = files_of(tiny_llama)
    same, again, other = (make_policy(files, Adapter(), seed=seed).trainable() for seed in (1, 1, 2))
    assert all(torch.equal(same[name], again[name]) for name in same)
    assert any(not torch.equal(same[name], other[name]) for name in same)


@pytest.mark.parametrize("labels", [(), LABELS])
def test_dropout_of_pretraining_is_off(tiny_bert: Path, labels: tuple[str, ...]) -> None:
    assert json.loads((tiny_bert / "config.json").read_text())["hidden_dropout_prob"] == 0.1
    policy = make_policy(files_of(tiny_bert), Adapter(type="full"), labels)
    policy.train()
    batch = pack(language_rows(90))
    assert torch.equal(policy.pooled(batch), policy.pooled(batch))
    assert {module.p for module in policy.trunk.modules() if isinstance(module, nn.Dropout)} == {0.0}


def test_a_new_head_prefers_no_class(tiny_bert: Path) -> None:
    policy = make_policy(files_of(tiny_bert), Adapter(type="head"), LABELS)
    assert not says(policy).any()


def test_what_a_policy_lacks_is_said(tiny_bert: Path) -> None:
    policy, batch = load_base(files_of(tiny_bert)), pack(language_rows(90))
    with pytest.raises(ModelError, match="no output over the vocabulary"):
        policy.logprobs(batch)
    with pytest.raises(ModelError, match="no classification head"):
        policy.class_logits(batch)


def test_evaluating_leaves_no_trace(tiny_llama: Path) -> None:
    policy = make_policy(files_of(tiny_llama), Adapter())
    policy.train()
    before = torch.get_rng_state()
    with policy.evaluating():
        assert not policy.trunk.training
        assert not torch.is_grad_enabled()
        torch.rand(3)
    assert policy.trunk.training
    assert torch.equal(torch.get_rng_state(), before)


def test_over_vocab_hands_out_all_logits(tiny_llama: Path) -> None:
    policy, batch = load_base(files_of(tiny_llama)), pack(language_rows())
    seen: dict[int, Tensor] = {}

    def look(rows: slice, logits: Tensor) -> None:
        seen.update({i: torch.log_softmax(row, 0) for i, row in enumerate(logits, rows.start)})

    policy.over_vocab(batch, look)
    found = torch.stack([seen[i][target] for i, target in enumerate(batch.target_N)])
    torch.testing.assert_close(found, policy.logprobs(batch))
