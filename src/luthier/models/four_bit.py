"""Weights of four bits: NF4 in blocks of 64 whose scales are quantised again (QLoRA, Dettmers et al. 2023,
arXiv:2305.14314), through bitsandbytes, on a CPU as well.

Weights are expanded block by block: bitsandbytes' own kernel for CPUs misreads the scales of matrices whose rows are no
whole number of blocks (0.50), and where the CPU can, it goes over to bfloat16 in evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

BLOCK = 64
PART = 4096
"""Blocks that are expanded at a time, into a megabyte."""


class Nf4:
    """A matrix in NF4; its parts are named as in files that bitsandbytes writes."""

    def __init__(self, parts: Mapping[str, Tensor]) -> None:
        from bitsandbytes.functional import QuantState

        self.numbers = parts["packed"]
        self.state = QuantState.from_dict({name: part for name, part in parts.items() if name != "packed"},
                                          self.numbers.device)  # fmt: skip
        self.shape = self.state.shape

    @staticmethod
    def parts(weight: Tensor) -> dict[str, Tensor]:
        """The four bits of a float32 matrix, and its scales. `weight` must be whole blocks."""
        from bitsandbytes.functional import quantize_4bit

        packed, state = quantize_4bit(weight.contiguous(), quant_type="nf4", compress_statistics=True)
        return {"packed": packed, **state.as_dict(packed=True)}

    def matrix(self, out: Tensor) -> Tensor:
        """Write the values that the four bits stand for into `out` (out, in)."""
        from bitsandbytes.functional import dequantize_blockwise

        scales = dequantize_blockwise(self.state.absmax, self.state.state2) + self.state.offset
        blocks, packed = out.view(-1, BLOCK), self.numbers.view(-1, BLOCK // 2)
        part = PART if out.device.type == "cpu" else len(blocks)
        for start in range(0, len(blocks), part):
            own = slice(start, start + part)
            blocks[own] = torch.ops.bitsandbytes.dequantize_4bit(
                packed[own].reshape(-1, 1), scales[own], BLOCK, "nf4", blocks[own].shape, torch.float32
            )
        return out
