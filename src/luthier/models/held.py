"""Linear layers whose matrix is held in another form than float32, and made when a product needs it.

`weight` is then the numbers that lie in memory, whatever they mean; its `form` makes the matrix of them. For the
backward the form is kept and not the matrix. These weights get no gradient.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional


class Form(Protocol):
    """How one matrix W (out, in) is held."""

    numbers: Tensor
    """What lies in memory."""
    shape: torch.Size

    def matrix(self, out: Tensor) -> Tensor:
        """Write W into `out` (out, in), in the type that it has; returns it."""


class Packing(Form, Protocol):
    """A form that is made of W, and is written to files as named parts."""

    def __init__(self, parts: Mapping[str, Tensor]) -> None: ...

    @staticmethod
    def parts(weight: Tensor) -> dict[str, Tensor]:
        """What is kept of a float32 matrix (out, in)."""


class HeldLinear(nn.Linear):
    """x Wᵀ + b with W held in a form of its own."""

    def __init__(self, layer: nn.Linear, form: Form) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight = nn.Parameter(form.numbers, requires_grad=False)
        self.weight.form = form  # type: ignore[attr-defined]
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) → (…, out)."""
        return _Product.apply(x, self.weight, self.bias)


def expanded(weight: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The matrix of a linear layer's `weight`, whether it is held in a form of its own or not.

    Where it is, a thread has room for one matrix on a CPU: the next call in the same thread writes over it. Taking new
    memory for each would leave the heap in pieces.
    """
    form = getattr(weight, "form", None)
    if form is None:
        return weight
    if weight.device.type != "cpu":
        return form.matrix(torch.empty(form.shape, dtype=dtype, device=weight.device))
    rooms, size = _own.rooms, form.shape.numel()
    if dtype not in rooms or rooms[dtype].numel() < size:
        rooms[dtype] = torch.empty(size, dtype=dtype)
    return form.matrix(rooms[dtype][:size].view(form.shape))


class _Own(threading.local):
    """Of each thread: type of number → room for the largest matrix so far."""

    def __init__(self) -> None:
        self.rooms: dict[torch.dtype, Tensor] = {}


_own = _Own()


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.weight = weight
        return functional.linear(x, expanded(weight, x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, None, None]:
        grad = grads[0]
        return (grad @ expanded(ctx.weight, grad.dtype) if ctx.needs_input_grad[0] else None), None, None
