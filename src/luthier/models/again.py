"""Activations that the backward makes again from what is kept anyway, instead of keeping them too.

What makes one says so on the tensor; what would keep it keeps its parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

NAME = "_made"


class Made(NamedTuple):
    """How an activation comes about: `make(*parts)` is the same tensor, bit for bit."""

    make: Callable[..., Tensor]
    parts: tuple[Tensor, ...]


def mark(activation: Tensor, make: Callable[..., Tensor], *parts: Tensor) -> Tensor:
    """The activation, with how it was made written on it."""
    setattr(activation, NAME, Made(make, parts))
    return activation


def made(activation: Tensor) -> Made:
    """How to have this activation in the backward; itself, where nothing is known."""
    return getattr(activation, NAME, None) or Made(_same, (activation,))


def _same(activation: Tensor) -> Tensor:
    return activation
