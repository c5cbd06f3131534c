"""Weights of four bits: NF4 in blocks of 64 whose scales are quantised again (QLoRA, Dettmers et al. 2023,
arXiv:2305.14314), through bitsandbytes, on a CPU as well.

Products are taken in float32 with weights that are expanded when they are needed, block by block: bitsandbytes' own
kernel for CPUs misreads the scales of matrices whose rows are no whole number of blocks (0.50), and where the CPU can,
it goes over to bfloat16 in evaluation.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from luthier.errors import ModelError

BLOCK = 64
KEPT = ["lm_head", "embed_out"]
"""What output layers are called; they and the embeddings keep their precision."""


def pack_linear(model: Any, device: str) -> None:
    """Quantise the linear layers of a model as its files have it, one after the other, and put all on `device`.

    What is not quantised becomes float32. Raises ModelError where nothing can be, or weights are not whole blocks.
    """
    from bitsandbytes.nn import Linear4bit, Params4bit

    layers = [(name, module) for name, module in model.named_modules()
              if type(module) is nn.Linear and name.rpartition(".")[2] not in KEPT]  # fmt: skip
    if not layers or any(layer.weight.numel() % BLOCK for _, layer in layers):
        raise ModelError(f"its linear layers cannot be cut into blocks of {BLOCK} weights", type(model).__name__,
                         "Leave `load_in_4bit` out")  # fmt: skip
    for name, layer in layers:
        packed: Any = Linear4bit(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        packed.bias = layer.bias
        weight: Any = Params4bit(layer.weight.data.float(), False, quant_type="nf4", module=packed)
        packed.weight = weight.to(device)  # quantises
        packed.forward = Expanding(packed)
        model.set_submodule(name, packed)
    for weights in model.parameters():
        if weights.is_floating_point():
            weights.data = weights.data.to(device, torch.float32)
    model.is_loaded_in_4bit = True  # PEFT asks for it


def round_to_4bit(model: Any) -> None:
    """Give the linear layers of a float32 model the values that four bits would hold."""
    from bitsandbytes.functional import quantize_4bit
    from transformers.pytorch_utils import Conv1D

    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear | Conv1D) or name.rpartition(".")[2] in KEPT:
            continue
        weight = module.weight.data.T if isinstance(module, Conv1D) else module.weight.data
        rounded = expanded(*quantize_4bit(weight.contiguous(), quant_type="nf4", compress_statistics=True))
        module.weight.data = rounded.T.contiguous() if isinstance(module, Conv1D) else rounded


def expanded(packed: Tensor, state: Any) -> Tensor:
    """The float32 matrix that `packed` holds, as bitsandbytes' `state` describes it."""
    from bitsandbytes.functional import dequantize_4bit

    blocks = copy(state)
    blocks.shape = torch.Size((state.shape.numel() // BLOCK, BLOCK))
    blocks.dtype = torch.float32
    return dequantize_4bit(packed, blocks).view(state.shape)


def in_4bit(layer: nn.Module) -> bool:
    """Whether this linear layer's weights are packed, and expanded as here."""
    return isinstance(layer.forward, Expanding)


def in_float32(weight: Any) -> Tensor:
    """A linear layer's weights, expanded where they are packed."""
    return expanded(weight.data, weight.quant_state) if hasattr(weight, "quant_state") else weight


class Expanding:
    """The forward of one layer of four bits: x Wᵀ + b."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(self, x: Tensor) -> Tensor:
        return _Product.apply(x, self.layer.weight, self.layer.bias)


class _Product(torch.autograd.Function):
    """Keeps the packed weights for the backward, not the expanded ones; these get no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Any, bias: Tensor | None) -> Tensor:
        ctx.weight = weight
        return functional.linear(x, in_float32(weight), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, None, None]:
        return grads[0] @ in_float32(ctx.weight), None, None
