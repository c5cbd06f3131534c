"""What the GPU benchmark knows without a GPU: sizes, operations, shares, and models that are never whole."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gpu
import pytest
import torch
from harness.gpu import LARGE, SHAPES, STEPS, Shape, again, mfu, peak_tflops, step_flop, write_folder
from harness.output import ROOT
from luthier_gpu import batches, made
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from luthier.data.batch import Batch
from luthier.models.held import HeldLinear
from luthier.models.locate import locate
from luthier.recipe import Adapter

SMALL = Shape("llama", 64, 128, 2, 4, 2, 16, 300)


@pytest.mark.parametrize(
    ("name", "billions"), [("Qwen2.5-0.5B", 0.494), ("Llama-3.2-1B", 1.236), ("Llama-3.2-3B", 3.213), (LARGE, 70.55)]
)
def test_shapes_have_the_size_of_the_models_they_are_named_after(name: str, billions: float) -> None:
    shape = SHAPES[name]
    tables = shape.head * (1 if shape.tie_word_embeddings else 2)
    assert (shape.trunk + tables) / 1e9 == pytest.approx(billions, rel=2e-3)


def test_the_weights_that_are_counted_are_those_of_transformers(tmp_path: Path) -> None:
    write_folder(SMALL, tmp_path)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path))
    matrices = sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name)
    assert matrices == SMALL.trunk
    assert model.lm_head.weight.numel() == SMALL.head


def test_operations_are_those_of_weights_and_attention() -> None:
    weights = SMALL.trunk + SMALL.head
    lora, full = (step_flop(SMALL, trained, 128, 3) for trained in ("lora", "full"))
    assert full - lora == 2 * weights * 3 * 128
    assert lora - 4 * weights * 3 * 128 == 6 * 2 * 64 * 128**2 * 3
    twice = step_flop(SMALL, "lora", 256, 3) - 4 * weights * 3 * 256
    assert twice == 4 * (lora - 4 * weights * 3 * 128)


def test_shares_are_of_the_cards_data_sheet() -> None:
    assert peak_tflops("NVIDIA H100 80GB HBM3") == 989
    assert peak_tflops("NVIDIA L40S") == 362
    assert peak_tflops("a card of tomorrow") is None
    assert mfu(989e12, 2.0, 989) == 0.5


def test_blocks_are_computed_again_where_states_would_fill_a_card() -> None:
    assert [again(SHAPES[name]) for name in ("Qwen2.5-0.5B", "Llama-3.2-1B", "Llama-3.2-3B")] == [False, False, True]


def test_every_step_has_as_many_tokens() -> None:
    assert {step.rows * step.length for step in STEPS} == {16_384}
    assert len(STEPS) == len({step.name for step in STEPS}) == 18


def test_without_a_gpu_it_says_so_and_ends_with_2() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    out = subprocess.run([sys.executable, str(ROOT / "bench" / "gpu.py")], capture_output=True, text=True, check=False)
    assert (out.returncode, out.stdout) == (2, "")
    assert out.stderr.strip() == gpu.NO_GPU


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    names, missing = gpu.present(str(tmp_path / "no-python"))
    assert names == ["Luthier"]
    assert [text.split()[0] for text in missing] == ["TRL", "Unsloth"]


def test_the_table_has_a_line_for_each_side_and_each_failure() -> None:
    result = gpu.told({"seconds": 0.5, "peak_memory_bytes": 7e9}, 1e14, 16_384, 400.0)
    found = {"card": "some card", "missing": ["TRL is not installed"],
             "steps": {"a step": {"Luthier": result, "TRL": {"failed": "out of memory"}}}, "large": result}  # fmt: skip
    lines = gpu.show(found).splitlines()
    assert lines[0] == "some card"
    assert lines[2].split() == ["a", "step", "Luthier", "0.500", "32,768", "50", "%", "7.0", "GB"]
    assert "out of memory" in lines[3]
    assert lines[4].startswith(f"{LARGE}, NF4")
    assert lines[5] == "TRL is not installed"


def test_a_model_that_is_never_whole_has_all_its_layers_in_four_bits(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    write_folder(replace(SMALL, tie_word_embeddings=False), tmp_path / "m")
    save_file({"model.norm.weight": torch.ones(1)}, tmp_path / "m" / "model.safetensors")
    files = locate(str(tmp_path / "m"), tmp_path / "cache", precision="bfloat16")
    policy = made(files, Adapter(lora_r=4), "cpu")
    held = [module for module in policy.wrapped.modules() if isinstance(module, HeldLinear)]
    assert len(held) == 2 * 7
    assert not any(weight.is_meta for weight in policy.wrapped.parameters())
    (batch,) = _unpinned({"length": 32, "rows": 2})
    loss = -policy.logprobs(batch).mean()
    loss.backward()
    assert torch.isfinite(loss)
    assert all(weight.grad is not None for weight in policy.trainable().values())


def _unpinned(job: dict) -> list:
    """The batches of a job on a machine that cannot page-lock."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batch, "pinned", lambda batch: batch)
        return batches(job)
