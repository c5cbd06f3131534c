"""Layers that keep less give the same numbers, and only layers that do are replaced."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import GemmaConfig, LlamaConfig
from transformers.models.gemma.modeling_gemma import GemmaMLP, GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from luthier.data.forest import Segment
from luthier.models import attention_cpu
from luthier.models.again import made
from luthier.models.attention import packed_attention
from luthier.models.lean import LeanGate, LeanNorm, make_lean

LLAMA = LlamaConfig(hidden_size=24, intermediate_size=40, num_attention_heads=2)


def norm() -> LlamaRMSNorm:
    layer = LlamaRMSNorm(24)
    layer.weight.data = torch.linspace(0.5, 2, 24)
    return layer


@pytest.mark.parametrize("layer", [norm(), LlamaMLP(LLAMA)], ids=["norm", "gate"])
def test_values_are_equal_and_gradients_within_rounding(layer: nn.Module) -> None:
    x = torch.randn(1, 7, 24, generator=torch.Generator().manual_seed(0)).requires_grad_()
    inputs, found = [x, *layer.parameters()], []
    for lean in (False, True):
        if lean:
            make_lean(layer)
            assert isinstance(layer.forward, LeanNorm | LeanGate)
        out = layer(x)
        found.append((out, torch.autograd.grad((out * torch.linspace(-1, 1, 24)).sum(), inputs)))
    assert torch.equal(found[0][0], found[1][0])
    for own, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-6)


def test_what_is_made_again_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = norm()
    make_lean(layer)
    out = layer(torch.randn(1, 7, 24).requires_grad_())
    again = made(out)
    assert out is not again.parts[0]
    assert torch.equal(again.make(*again.parts), out)


def test_double_precision_and_evaluation_take_the_own_forward() -> None:
    layer = norm()
    make_lean(layer)
    assert made(layer(torch.randn(1, 7, 24, dtype=torch.float64).requires_grad_())).make(torch.ones(1)) == 1
    with torch.no_grad():
        assert not hasattr(layer(torch.randn(1, 7, 24)), "_made")


def test_layers_with_other_numbers_stay_as_they_are() -> None:
    gemma = GemmaRMSNorm(24)
    gemma.weight.data.fill_(0.5)
    other = GemmaMLP(
        GemmaConfig(hidden_size=24, intermediate_size=40, num_attention_heads=2, hidden_activation="gelu_pytorch_tanh")
    )
    make_lean(nn.ModuleList([gemma, other]))
    assert "forward" not in vars(gemma)
    assert "forward" not in vars(other)


SEGMENTS = (Segment(0, 4), Segment(4, 9, 0), Segment(9, 12, 0), Segment(12, 20))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [None, 3])
def test_attention_of_all_segments_is_that_of_each(
    causal: bool, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = torch.Generator().manual_seed(1)
    shapes = ((1, 4, 20, 8), (1, 2, 20, 8), (1, 2, 20, 8))
    states = [torch.randn(shape, dtype=torch.float64, generator=draw).requires_grad_() for shape in shapes]
    module = nn.Module()
    module.is_causal = causal

    def run() -> tuple[Tensor, ...]:
        out, _ = packed_attention(module, *states, None, segments=SEGMENTS, sliding_window=window)
        return out, *torch.autograd.grad(out.pow(2).sum(), states)

    ours = run()
    assert "Attend" in type(ours[0].grad_fn).__name__
    monkeypatch.setattr(attention_cpu, "suits", lambda *_: False)
    for own, other in zip(ours, run(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-10, atol=1e-10)
