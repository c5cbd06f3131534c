"""The lean DoRA layer computes what PEFT computes, without forming W + s·BA."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora import Linear
from policies import distance, language_policy
from torch import Tensor

from luthier.models.adapt.dora import row_lengths, stretched
from luthier.objectives import TABLE
from luthier.recipe import Adapter
from luthier.recipe import Objective as Settings

needs_bitsandbytes = pytest.mark.skipif(not importlib.util.find_spec("bitsandbytes"), reason="needs luthier[bnb]")
SFT = TABLE["sft"](Settings(), False)
DORA = Adapter(lora_r=4, lora_alpha=8.0, use_dora=True)
CLOSE = {torch.float64: {"rtol": 1e-10, "atol": 1e-10}, torch.float32: {"rtol": 1e-5, "atol": 1e-5}}


def layers(folder: Path, dtype: torch.dtype = torch.float64) -> list[Linear]:
    policy = language_policy(folder, DORA, dtype)
    found = [module for module in policy.wrapped.modules() if type(module) is Linear]
    with torch.no_grad():
        for layer in found:
            layer.lora_magnitude_vector["default"].weight.mul_(1.1).sub_(0.02)
    return found


def seen_by(layer: Any, dtype: torch.dtype = torch.float64) -> Tensor:
    draw = torch.Generator().manual_seed(3)
    return torch.randn(2, 5, layer.in_features, dtype=dtype, generator=draw).requires_grad_()


def lean(out: Tensor) -> bool:
    return out.grad_fn is not None and "DoraLinear" in type(out.grad_fn.next_functions[0][0]).__name__


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("model", ["tiny_llama", "tiny_bert"])
@pytest.mark.parametrize("trained_base", [False, True])
def test_values_and_gradients_are_those_of_peft(
    model: str, trained_base: bool, dtype: torch.dtype, request: pytest.FixtureRequest
) -> None:
    found = layers(request.getfixturevalue(model), dtype)
    assert {layer.base_layer.bias is None for layer in found} == {model == "tiny_llama"}
    for layer in found:
        layer.base_layer.requires_grad_(trained_base)
        x, learnt = seen_by(layer, dtype), [p for p in layer.parameters() if p.requires_grad]
        ours, theirs = layer(x), Linear.forward(layer, x)
        assert lean(ours)
        assert not lean(theirs)
        torch.testing.assert_close(ours, theirs, **CLOSE[dtype])
        weight = torch.randn_like(ours)
        both = [torch.autograd.grad((out * weight).sum(), [x, *learnt]) for out in (ours, theirs)]
        for own, other in zip(*both, strict=True):
            assert distance(own, other) < {torch.float64: 1e-10, torch.float32: 1e-6}[dtype]


def test_the_lengths_of_rows_are_those_of_the_sum() -> None:
    draw = torch.Generator().manual_seed(0)
    w, a, b = (torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in ((7, 9), (3, 9), (7, 3)))
    found = stretched(row_lengths(w), w, a, b, 1.5)
    torch.testing.assert_close(found, torch.linalg.norm(w + 1.5 * b @ a, dim=1), rtol=1e-12, atol=0)
    assert torch.equal(stretched(row_lengths(w), w, a, torch.zeros_like(b), 1.5), row_lengths(w))


def test_lengths_are_kept_until_the_weights_change(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    monkeypatch.setattr(
        "luthier.models.adapt.dora.row_lengths", lambda weight: counted.append(1) or row_lengths(weight)
    )
    layer = layers(tiny_llama)[0]
    x = seen_by(layer)
    assert torch.equal(layer(x), layer(x))
    assert len(counted) == 1
    layer.base_layer.weight.data = layer.base_layer.weight.data * 3
    torch.testing.assert_close(layer(x), Linear.forward(layer, x), **CLOSE[torch.float64])
    assert len(counted) == 2
    layer.base_layer.weight.requires_grad_(True)
    assert torch.equal(layer(x), layer(x))
    assert len(counted) == 4


def test_an_input_without_a_gradient_gets_none(tiny_llama: Path) -> None:
    layer = layers(tiny_llama)[0]
    x = seen_by(layer).detach()
    layer(x).sum().backward()
    assert x.grad is None
    assert layer.lora_magnitude_vector["default"].weight.grad.norm() > 0
