"""Matrices that are held otherwise than in float32: of eight bits, and in files."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from policies import distance, files_of, gradient, language_rows, settled
from safetensors.torch import load_file, save_file
from test_merge import Rows

from luthier.data.batch import pack
from luthier.errors import ModelError
from luthier.models.eight_bit import Int8
from luthier.models.held import HeldLinear, expanded
from luthier.models.load import load_base, load_policy, make_policy, save_policy
from luthier.models.locate import ModelFiles
from luthier.models.merge import merge, merge_difference
from luthier.models.policy import Policy
from luthier.models.tensor_file import write_tensors
from luthier.objectives import TABLE
from luthier.recipe import Adapter
from luthier.recipe import Objective as Settings

SFT = TABLE["sft"](Settings(), False)
LORA = Adapter(lora_r=4, lora_alpha=8.0)


def trained(files: ModelFiles, adapter: Adapter = LORA) -> Policy:
    return settled(make_policy(files, adapter, seed=1), torch.float32)


def held(policy: Policy) -> list[HeldLinear]:
    return [module for module in policy.wrapped.modules() if isinstance(module, HeldLinear)]


def test_eight_bits_are_within_half_a_step_of_each_row() -> None:
    weight = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    weight[2] = 0
    form = Int8(Int8.parts(weight))
    step = weight.abs().amax(1, keepdim=True) / 127
    assert form.numbers.dtype == torch.int8
    for dtype, error in ((torch.float32, 1e-6), (torch.float64, 1e-6), (torch.bfloat16, 1e-2)):
        found = form.matrix(torch.empty(6, 40, dtype=dtype))
        assert found.dtype == dtype
        assert ((found - weight).abs() <= step / 2 * 1.0001 + error * weight.abs()).all()


def test_a_thread_has_room_for_one_matrix() -> None:
    layers = [HeldLinear(torch.nn.Linear(8, 4, bias=False), Int8(Int8.parts(torch.randn(4, 8)))) for _ in range(2)]
    first = expanded(layers[0].weight)
    kept = first.clone()
    second = expanded(layers[1].weight)
    assert second.data_ptr() == first.data_ptr()
    assert torch.equal(expanded(layers[0].weight), kept)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(expanded, layers[1].weight).result().data_ptr() != first.data_ptr()
    assert torch.equal(first, kept)
    plain = torch.nn.Linear(8, 4)
    assert expanded(plain.weight) is plain.weight


@pytest.mark.parametrize("model", ["tiny_llama", "tiny_bert"])
def test_a_base_of_eight_bits_is_close_and_made_once(model: str, request: pytest.FixtureRequest) -> None:
    plain = files_of(request.getfixturevalue(model))
    files = replace(plain, number_format="int8")
    base, packed, batch = load_base(plain), load_base(files), pack(language_rows(90))
    kept = list((files.cache / "packed").glob(f"{files.sha256}-int8-*"))
    assert len(kept) == 1
    written = kept[0].stat().st_mtime_ns
    again, rounded = load_base(files), load_base(files, dequantised=True)
    assert kept[0].stat().st_mtime_ns == written
    assert held(packed)
    assert not held(rounded)
    with base.evaluating(), packed.evaluating(), again.evaluating(), rounded.evaluating():
        states = [policy.hidden(batch) for policy in (base, packed, again, rounded)]
    assert 0 < distance(states[1], states[0]) < 0.05
    assert torch.equal(states[1], states[2])
    assert torch.equal(states[1], states[3])


def test_the_gradient_on_eight_bits_is_that_of_the_same_values_in_float32(tiny_llama: Path, tmp_path: Path) -> None:
    files = replace(files_of(tiny_llama), number_format="int8")
    policy = trained(files)
    save_policy(policy, tmp_path, files)
    assert json.loads((tmp_path / "luthier.json").read_text())["load_in_8bit"]
    plain = load_policy(replace(files, number_format="float32"), tmp_path, dequantised=True)
    for name, weights in plain.wrapped.named_parameters():
        weights.requires_grad_("lora_" in name)
    batches = [pack(language_rows()[:3]), pack(language_rows()[3:])]
    assert distance(gradient(policy, SFT, batches, lanes=2), gradient(plain, SFT, batches)) < 1e-6


@pytest.mark.parametrize("way", [{"number_format": "int8"}, {"streamed": True}])
def test_merging_is_measured_without_the_model_in_float32(tiny_llama: Path, tmp_path: Path, way: dict) -> None:
    files = replace(files_of(tiny_llama), **way)
    policy, batch = trained(files), pack(language_rows())
    save_policy(policy, tmp_path / "adapter", files)
    apart = merge_difference(files, tmp_path / "adapter", Rows())
    assert apart is not None
    assert 0 < apart < 1e-5
    merge(files, tmp_path / "adapter", tmp_path / "merged")
    merged = load_base(files_of(tmp_path / "merged"))
    with policy.evaluating(), merged.evaluating():
        torch.testing.assert_close(merged.logprobs(batch), policy.logprobs(batch), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "v_proj")])
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_streaming_changes_no_bit(tiny_llama: Path, tmp_path: Path, targets: str, stored: torch.dtype) -> None:
    folder = copy(tiny_llama, tmp_path / "base", stored)
    files = files_of(folder)
    adapter = LORA.model_copy(update={"lora_target_modules": targets})
    resident, streamed = trained(files, adapter), trained(replace(files, streamed=True), adapter)
    assert not held(resident)
    assert len(held(streamed)) == 14
    assert all(layer.weight.numel() == 0 for layer in held(streamed))
    batches = [pack(language_rows(shared=20)[:3], share_prefix=True), pack(language_rows()[3:])]
    with resident.evaluating(), streamed.evaluating():
        assert torch.equal(resident.logprobs(batches[0]), streamed.logprobs(batches[0]))
    assert torch.equal(gradient(resident, SFT, batches), gradient(streamed, SFT, batches))


def test_a_base_whose_files_name_other_weights_is_not_streamed(tiny_llama: Path, tmp_path: Path) -> None:
    folder = copy(tiny_llama, tmp_path / "base", torch.float32)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.attention.wq.weight"] = weights.pop("model.layers.0.self_attn.q_proj.weight")
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"q_proj\.weight as the model has it.*stream_base: false"):
        load_base(replace(files_of(folder), streamed=True))


def test_a_tensor_file_is_a_safetensors_file(tmp_path: Path) -> None:
    tensors = {
        "odd": torch.arange(7, dtype=torch.uint8), "wide": torch.randn(3, 5), "count": torch.tensor([1 << 40]),
        "signs": torch.tensor([[-1, 2]], dtype=torch.int8), "none": torch.empty(0, 4),
    }  # fmt: skip
    write_tensors(tmp_path / "x", tensors.items())
    found = load_file(tmp_path / "x")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    assert all(np.asarray(part).ctypes.data % part.element_size() == 0 for part in found.values())
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def copy(base: Path, folder: Path, dtype: torch.dtype) -> Path:
    folder.mkdir()
    for file in base.iterdir():
        if file.suffix == ".json":
            (folder / file.name).write_bytes(file.read_bytes())
    weights = {name: tensor.to(dtype) for name, tensor in load_file(base / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder
