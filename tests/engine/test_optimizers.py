"""Moments of eight bits: close to AdamW's, small, and back from a checkpoint bit for bit."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from luthier.engine.optimizers import optimizer_of
from luthier.engine.plan import Plan
from luthier.errors import ModelError
from luthier.recipe import Train

needs_bitsandbytes = pytest.mark.skipif(not importlib.util.find_spec("bitsandbytes"), reason="needs luthier[bnb]")


def parameters(device: str = "cpu") -> dict[str, nn.Parameter]:
    draw = torch.Generator().manual_seed(0)
    shapes = {"large": (64, 96), "small": (6, 5), "vector": (7,)}
    return {name: nn.Parameter(torch.randn(shape, generator=draw).to(device)) for name, shape in shapes.items()}


def plan_of(learnt: dict[str, nn.Parameter], optimizer: str) -> Plan:
    settings: Any = {"learning_rate": 1e-2, "weight_decay": 0.1, "max_grad_norm": 0.0, "optimizer": optimizer}
    return Plan(Train(**settings, lr_scheduler="constant", warmup_ratio=0.0), learnt, 100)


def take(plan: Plan, steps: range) -> None:
    for step in steps:
        draw = torch.Generator().manual_seed(step)
        for parameter in plan.parameters.values():
            parameter.grad = torch.randn(parameter.shape, generator=draw).to(parameter.device)
        plan.step(step)


def resumed(optimizer: str, folder: Path, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights and state after 8 steps: without an interruption, and with one after 4."""
    whole = parameters(device)
    first = plan_of(whole, optimizer)
    take(first, range(4))
    save_file({name: value.contiguous() for name, value in first.state().items()}, folder / "state.safetensors")
    parts = {name: nn.Parameter(parameter.detach().clone()) for name, parameter in whole.items()}
    second = plan_of(parts, optimizer)
    second.restore(load_file(folder / "state.safetensors"))
    take(first, range(4, 8))
    take(second, range(4, 8))
    found = []
    for plan in (first, second):
        found.append({**dict(plan.parameters), **plan.state()})
    return found[0], found[1]


@needs_bitsandbytes
def test_moments_of_eight_bits_take_a_quarter_and_go_almost_where_adamw_goes() -> None:
    plain, small = parameters(), parameters()
    plans = [plan_of(plain, "adamw"), plan_of(small, "adamw_8bit")]
    for plan in plans:
        take(plan, range(10))
    for name in plain:
        apart = (plain[name] - small[name]).norm() / (plain[name] - parameters()[name]).norm()
        assert apart < (0.05 if name == "large" else 1e-5), name
    sizes = [sum(value.nbytes for key, value in plan.state().items() if key.startswith("large/")) for plan in plans]
    assert sizes[1] < sizes[0] / 3.8


@needs_bitsandbytes
def test_a_plan_with_eight_bits_goes_on_bit_for_bit(tmp_path: Path) -> None:
    one, two = resumed("adamw_8bit", tmp_path)
    assert one.keys() == two.keys()
    assert {"large/state1", "large/absmax1", "large/step", "small/state2"} <= one.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_without_bitsandbytes_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.models.extras.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"train\.optimizer: moments of eight bits need bitsandbytes.*luthier\[bnb\]"):
        optimizer_of(Train(learning_rate=1e-3, optimizer="adamw_8bit"), [])


@pytest.mark.gpu
@needs_bitsandbytes
@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit", "paged_adamw_8bit"])
def test_on_a_gpu_each_goes_on_as_it_was(optimizer: str, tmp_path: Path) -> None:
    one, two = resumed(optimizer, tmp_path, "cuda")
    assert all(torch.equal(one[name].cpu(), two[name].cpu()) for name in one)
