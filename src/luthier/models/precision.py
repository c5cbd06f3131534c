"""What numbers a model computes in, where that is not float32.

The frozen base is held in them. What is trained stays in float32 and is rounded where it is used, so that gradients
are added to, and steps are taken by, numbers that a small step still changes (Micikevicius et al. 2018,
arXiv:1710.03740). Norms, sums, the softmax and the loss are float32 inside.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor, nn

from luthier.models.peft_parts import BaseTunerLayer
from luthier.recipe.values import Precision

DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16,
}  # fmt: skip


def held_in(model: Any, dtype: torch.dtype) -> Any:
    """The model, with its weights in `dtype`; what is held in a form of its own stays as it is, and so do buffers."""
    for weights in model.parameters():
        if weights.is_floating_point():
            weights.data = weights.data.to(dtype)
    return model


def compute_in(model: nn.Module, dtype: torch.dtype) -> None:
    """Let every layer of `model` that holds float32 weights of its own compute with them in `dtype`.

    PEFT's layers are left out: they add what float32 matrices say to what the base says.
    """
    tuned = {id(part) for layer in model.modules() if isinstance(layer, BaseTunerLayer) for part in layer.modules()}
    for module in model.modules():
        own = vars(module)["_parameters"].values()
        if id(module) not in tuned and any(w is not None and w.dtype == torch.float32 for w in own):
            module.forward = Rounded(module, dtype)  # type: ignore[method-assign, assignment]


class Rounded:
    """The forward of a layer as it was, while its float32 weights are rounded ones; the gradient is that of float32.

    Threads share the layer, so one after the other.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        self.module, self.forward, self.dtype = module, module.forward, dtype
        self.lock = threading.RLock()

    def __call__(self, *args: Any, **options: Any) -> Any:
        weights: dict[str, Any] = vars(self.module)["_parameters"]
        with self.lock:
            own = dict(weights)
            try:
                weights.update({name: self._rounded(weight) for name, weight in own.items()})
                return self.forward(*args, **options)
            finally:
                weights.update(own)

    def _rounded(self, weight: Tensor | None) -> Tensor | None:
        return weight.to(self.dtype) if weight is not None and weight.dtype == torch.float32 else weight


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type for what must not be rounded: float64 of float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32
