"""Weights of eight bits: each row of a matrix over its largest weight, in steps of 1/127 (as the weights of LLM.int8,
Dettmers et al. 2022, arXiv:2208.07339). Products are those of the numbers that they stand for: inputs are not rounded.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

STEPS = 127


class Int8:
    """A matrix W ≈ scale · numbers, with whole numbers (out, in) from -127 to 127 and one scale a row, (out, 1)."""

    def __init__(self, parts: Mapping[str, Tensor]) -> None:
        self.numbers, self.scale = parts["int8"], parts["scale"]
        self.shape = self.numbers.shape

    @staticmethod
    def parts(weight: Tensor) -> dict[str, Tensor]:
        """The nearest steps of a float32 matrix; a row of zeros stays one."""
        scale = weight.abs().amax(1, keepdim=True).clamp_(min=torch.finfo(torch.float32).tiny) / STEPS
        return {"int8": (weight / scale).round_().to(torch.int8), "scale": scale}

    def matrix(self, out: Tensor) -> Tensor:
        """Write the values that the numbers stand for into `out` (out, in); rounded once more below float32."""
        return out.copy_(self.numbers).mul_(self.scale)
