"""The lean LoRA function computes what PEFT computes, and stands back where it would not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from peft.tuners.lora import Linear
from policies import files_of, language_policy, language_rows
from torch import Tensor

from luthier.data.batch import pack
from luthier.errors import ModelError
from luthier.models.adapt.lora import LeanForward
from luthier.models.load import load_base, make_policy
from luthier.models.policy import Policy
from luthier.recipe import Adapter

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def layers(policy: Policy) -> dict[str, Linear]:
    return {name: module for name, module in policy.wrapped.named_modules() if type(module) is Linear}


def lean(out: Tensor) -> bool:
    return out.grad_fn is not None and "LoraLinear" in type(out.grad_fn.next_functions[0][0]).__name__


def seen_by(layer: Linear) -> Tensor:
    draw = torch.Generator().manual_seed(3)
    return torch.randn(2, 5, layer.in_features, dtype=torch.float64, generator=draw).requires_grad_()


@pytest.mark.parametrize("model", ["tiny_llama", "tiny_bert"])
@pytest.mark.parametrize("trained_base", [False, True])
def test_values_and_gradients_are_those_of_peft(model: str, trained_base: bool, request: pytest.FixtureRequest) -> None:
    found = layers(language_policy(request.getfixturevalue(model)))
    assert found
    assert {layer.base_layer.bias is None for layer in found.values()} == {model == "tiny_llama"}
    for name, layer in found.items():
        layer.base_layer.requires_grad_(trained_base)
        x, learnt = seen_by(layer), [p for p in layer.parameters() if p.requires_grad]
        ours, theirs = layer(x), Linear.forward(layer, x)
        assert lean(ours), name
        assert not lean(theirs), name
        torch.testing.assert_close(ours, theirs, **EXACT)
        weight = torch.randn_like(ours)
        both = [torch.autograd.grad((out * weight).sum(), [x, *learnt]) for out in (ours, theirs)]
        for own, other in zip(*both, strict=True):
            torch.testing.assert_close(own, other, **EXACT)


def test_an_input_without_a_gradient_gets_none(tiny_llama: Path) -> None:
    layer = next(iter(layers(language_policy(tiny_llama)).values()))
    x = seen_by(layer).detach()
    layer(x).sum().backward()
    assert x.grad is None
    assert layer.lora_A["default"].weight.grad.norm() > 0


def test_the_start_equals_the_base(tiny_llama: Path) -> None:
    files = files_of(tiny_llama)
    tuned, base = make_policy(files, Adapter(), seed=1), load_base(files)
    batch = pack(language_rows())
    with tuned.evaluating(), base.evaluating():
        assert torch.equal(tuned.logprobs(batch), base.logprobs(batch))


@pytest.mark.parametrize("state", ["off", "merged", "two at once", "dropout"])
def test_what_is_not_the_plain_case_takes_pefts_own_path(state: str, tiny_llama: Path) -> None:
    policy = language_policy(tiny_llama)
    if state == "two at once":
        policy.wrapped.add_adapter("second", LoraConfig(r=2, target_modules="all-linear"))
        policy.wrapped.base_model.set_adapter(["default", "second"])
    if state == "off":
        policy.wrapped.base_model.disable_adapter_layers()
    if state == "merged":
        policy.wrapped.merge_adapter()
    layer = next(iter(layers(policy).values()))
    if state == "dropout":
        layer.lora_dropout["default"] = torch.nn.Dropout(0.5)
        layer.train()
    x = seen_by(layer)
    torch.manual_seed(0)
    ours = layer(x)
    torch.manual_seed(0)
    assert isinstance(layer.forward, LeanForward)
    assert not lean(ours)
    torch.testing.assert_close(ours, Linear.forward(layer, x), **EXACT)


def test_dropout_rests_outside_of_training(tiny_llama: Path) -> None:
    policy = language_policy(tiny_llama, Adapter(lora_r=4, lora_dropout=0.5))
    layer, batch = next(iter(layers(policy).values())), pack(language_rows())
    policy.train()
    assert not torch.equal(policy.logprobs(batch), policy.logprobs(batch))
    policy.train(False)
    assert lean(layer(seen_by(layer)))
    assert torch.equal(policy.logprobs(batch), policy.logprobs(batch))


def test_named_layers_alone_are_adapted(tiny_llama: Path) -> None:
    chosen = Adapter(lora_r=4, lora_target_modules=("q_proj", "v_proj"))
    found = layers(language_policy(tiny_llama, chosen))
    assert {name.rpartition(".")[2] for name in found} == {"q_proj", "v_proj"}
    assert len(found) == 4


def test_a_name_that_no_layer_has_is_an_error_that_lists_them(tiny_llama: Path) -> None:
    with pytest.raises(ModelError, match=r"no layer is called c_attn\..*q_proj, k_proj, v_proj, o_proj"):
        make_policy(files_of(tiny_llama), Adapter(lora_target_modules=("c_attn",)))


def test_layers_that_read_the_same_states_share_the_work(tiny_llama: Path) -> None:
    found = [layer for name, layer in layers(language_policy(tiny_llama)).items() if ".0.self_attn." in name][:3]
    x = seen_by(found[0])
    ours = [layer(x) for layer in found]
    shared = {out.grad_fn.next_functions[0][0] for out in ours}
    assert len(shared) == 1
    for _ in range(2):
        both = [
            torch.autograd.grad(sum((out * out).sum() for out in outs), [x, *found[1].lora_A.parameters()])
            for outs in ([layer(x) for layer in found], [Linear.forward(layer, x) for layer in found])
        ]
        for own, other in zip(*both, strict=True):
            torch.testing.assert_close(own, other, **EXACT)


def test_a_layer_out_of_its_plain_state_leaves_the_others_alone(tiny_llama: Path) -> None:
    found = [layer for name, layer in layers(language_policy(tiny_llama)).items() if ".0.self_attn." in name][:3]
    found[1].enable_adapters(False)
    x = seen_by(found[0])
    assert [lean(layer(x)) for layer in found] == [True, False, True]
