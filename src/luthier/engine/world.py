"""The ranks of a run: sums over all of them, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor


def size() -> int:
    """Number of ranks; 1 where no process group was started."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number among them."""
    return dist.get_rank() if dist.is_initialized() else 0


def total(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Add up mappings with the same keys, over all micro-batches and all ranks."""
    sums: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            sums[name] = sums.get(name, 0.0) + value
    if size() == 1:
        return sums
    names = sorted(sums)
    values = torch.tensor([sums[name] for name in names], dtype=torch.float64)
    dist.all_reduce(values)
    return dict(zip(names, values.tolist(), strict=True))


def add_gradients(gradients: Iterable[Tensor]) -> None:
    """Sum gradients over ranks where they stand. The loss was divided by global units, so the sum is the gradient."""
    if size() > 1:
        for gradient in gradients:
            dist.all_reduce(gradient)
