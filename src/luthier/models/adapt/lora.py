"""LoRA (Hu et al. 2021, arXiv:2106.09685) through PEFT, with one autograd function per adapted linear layer.

PEFT owns the parameters, their names and the files. Its plain float path is replaced by a function that computes the
same y = x Wᵀ + b + s·(x Aᵀ) Bᵀ and keeps only x and x Aᵀ for the backward. Whatever is not that plain case (adapter
off, merged, several adapters, dropout, DoRA, a quantised base) takes PEFT's own path.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear
from torch import Tensor, nn

from luthier.errors import ModelError
from luthier.models.adapt.blocks import adapted, blocks_of
from luthier.recipe.types import Adapter


def add_lora(model: nn.Module, adapter: Adapter, task_type: str | None) -> PeftModel:
    """Wrap `model` with LoRA matrices: A as PEFT draws it, B zero, so that the start equals the base.

    Raises ModelError where no layer has one of the names in `lora_target_modules`.
    """
    targets: Any = adapter.lora_target_modules
    layers = None
    if adapter.num_layers != "all":
        layers = list(adapted(model, adapter))
        targets = linear_names(blocks_of(model)) if targets == "all-linear" else targets
    config = LoraConfig(
        r=adapter.lora_r, lora_alpha=adapter.lora_alpha, lora_dropout=adapter.lora_dropout,  # type: ignore[arg-type]
        target_modules=targets if isinstance(targets, str) else list(targets), task_type=task_type,
        layers_to_transform=layers,
    )  # fmt: skip
    try:
        with _quiet():
            wrapped = get_peft_model(model, config)  # type: ignore[arg-type]
    except ValueError as error:
        raise ModelError(
            f"no layer is called {', '.join(targets) if not isinstance(targets, str) else targets}",
            where="adapter.lora_target_modules",
            mend=f"Linear layers of this model: {', '.join(linear_names(model))}",
        ) from error
    fuse(wrapped)
    return wrapped  # type: ignore[return-value]


def load_lora(model: nn.Module, folder: Path) -> PeftModel:
    """Put the adapter in `folder` (PEFT's layout) on `model`, frozen."""
    with _quiet():
        wrapped = PeftModel.from_pretrained(model, str(folder))  # type: ignore[arg-type]
    fuse(wrapped)
    return wrapped


def fuse(model: nn.Module) -> None:
    """Give every LoRA linear layer of `model` the lean forward."""
    for module in model.modules():
        if type(module) is Linear:
            module.forward = LeanForward(module)  # type: ignore[method-assign, assignment]


@contextmanager
def _quiet() -> Iterator[None]:
    """PEFT asks transformers by old names and corrects settings that it made itself; that is no news for the user."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
        warnings.filterwarnings("ignore", message="The following (rank|alpha)_pattern keys", category=RuntimeWarning)
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to", category=UserWarning)
        yield


def linear_names(model: nn.Module) -> list[str]:
    """The distinct last names of the linear layers, in the order in which they first appear."""
    return list(dict.fromkeys(name.rpartition(".")[2] for name, m in model.named_modules() if isinstance(m, nn.Linear)))


class LeanForward:
    """The forward of one layer: the lean function where the layer is in PEFT's plain state, else PEFT's own."""

    def __init__(self, layer: Linear) -> None:
        self.layer = layer

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        layer, base = self.layer, self.layer.base_layer
        names = layer.active_adapters
        plain = (
            not (layer.disable_adapters or layer.merged or args or kwargs)
            and len(names) == 1
            and type(base) is nn.Linear
        )
        if not plain or names[0] not in layer.lora_A or not _is_plain(layer, names[0]):
            return type(layer).forward(layer, x, *args, **kwargs)
        name = names[0]
        a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
        flat = _LoraLinear.apply(x.reshape(-1, x.shape[-1]), base.weight, base.bias, a, b, layer.scaling[name])
        return flat.view(*x.shape[:-1], -1)  # here and not in the function, as some models change it in place


def _is_plain(layer: Linear, name: str) -> bool:
    dropout = layer.lora_dropout[name]
    silent = isinstance(dropout, nn.Identity) or not layer.training
    return silent and name not in layer.lora_variant and layer.lora_B[name].bias is None


class _LoraLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, flat: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        low = flat @ a.T
        out = flat @ weight.T if bias is None else torch.addmm(bias, flat, weight.T)
        out.addmm_(low, b.T, alpha=scale)
        ctx.scale = scale
        ctx.save_for_backward(flat, low, weight, a, b)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        flat, low, weight, a, b = ctx.saved_tensors
        grad = grads[0]
        down = (grad @ b).mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ weight).addmm_(down, a)
        grad_weight = grad.T @ flat if ctx.needs_input_grad[1] else None
        grad_bias = grad.sum(0) if ctx.needs_input_grad[2] else None
        return grad_x, grad_weight, grad_bias, down.T @ flat, (grad.T @ low).mul_(ctx.scale), None
