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
from luthier.models.extras import require_bitsandbytes

BLOCK = 64
KEPT = ["lm_head", "embed_out"]
"""What output layers are called; they and the embeddings keep their precision."""


def loading(device: str) -> dict[str, Any]:
    """What `from_pretrained` is told, so that each matrix is quantised when it has been read."""
    from transformers import BitsAndBytesConfig

    require_bitsandbytes()
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32, llm_int8_skip_modules=KEPT,
    )  # fmt: skip
    return {"quantization_config": config, "device_map": {"": device}}


def compute_in_float32(model: Any) -> None:
    """Give every layer of four bits the forward below. Raises ModelError where weights are not whole blocks."""
    from bitsandbytes.nn import Linear4bit

    for name, module in model.named_modules():
        if isinstance(module, Linear4bit):
            if module.in_features * module.out_features % BLOCK:
                raise ModelError(f"the weights of `{name}` are not whole blocks of {BLOCK}", type(model).__name__,
                                 "Leave `load_in_4bit` out")  # fmt: skip
            module.forward = Expanding(module)


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
