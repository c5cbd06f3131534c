"""Tensors of which each process holds a part, beside those that each holds whole.

Operations on lists of tensors take one kind only; here are those that a step needs on both.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

Kind = TypeVar("Kind", bound=Tensor)


def whole(value: Tensor) -> Tensor:
    """All of a tensor; all processes must ask for it at once."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def held_numbers(value: Tensor) -> int:
    """How many numbers of a tensor this process holds."""
    return (value.to_local() if isinstance(value, DTensor) else value).numel()


def by_kind(values: Iterable[Kind]) -> list[list[Kind]]:
    """Those that are held whole, then those that are held in parts; a list without any is left out."""
    listed = list(values)
    kinds = [[value for value in listed if isinstance(value, DTensor) is parts] for parts in (False, True)]
    return [kind for kind in kinds if kind]


def total_norm(gradients: Iterable[Tensor]) -> Tensor:
    """The norm of all of them together, the same in each process."""
    norms = [whole(nn.utils.get_total_norm(kind)) for kind in by_kind(gradients)]
    return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms or [torch.zeros(())]))


def clip(parameters: Iterable[nn.Parameter], longest: float, norm: Tensor) -> None:
    """Scale the gradients, whose norm is `norm`, down to the norm `longest` where it is larger."""
    for kind in by_kind(parameters):
        nn.utils.clip_grads_with_norm_(kind, longest, norm)
