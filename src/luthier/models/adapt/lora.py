"""LoRA (Hu et al. 2021, arXiv:2106.09685) through PEFT, with one autograd function per adapted linear layer; on
request DoRA (Liu et al. 2024, arXiv:2402.09353), which learns the length of each row of W + s·BA apart.

PEFT owns the parameters, their names and the files. Its plain float path is replaced by a function that computes the
same y = x Wᵀ + b + s·(x Aᵀ) Bᵀ and keeps only x and x Aᵀ for the backward, or by that of `dora.py`. Whatever is not
that plain case (adapter off, merged, several adapters, dropout) takes PEFT's own path. Weights of four bits are
expanded when they are needed, and kept as they are for the backward.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from luthier.errors import ModelError
from luthier.models.adapt.blocks import adapted, blocks_of
from luthier.models.adapt.dora import Dora, is_dora
from luthier.models.adapt.lora_linear import Adapted, lora_linears
from luthier.models.held import HeldLinear
from luthier.models.peft_parts import LoraConfig, LoraLinear, PeftModel, get_peft_model
from luthier.recipe.types import Adapter


def add_lora(model: nn.Module, adapter: Adapter, task_type: str | None) -> PeftModel:
    """Wrap `model` with LoRA matrices: A as PEFT draws it, B zero, so that the start equals the base.

    Raises ModelError where no layer has one of the names in `lora_target_modules`.
    """
    wrapped = on_targets(LoraConfig, model, adapter, r=adapter.lora_r, use_dora=adapter.use_dora, task_type=task_type)
    fuse(wrapped)
    return wrapped


def on_targets(kind: type[LoraConfig], model: nn.Module, adapter: Adapter, **settings: Any) -> PeftModel:
    """Wrap the layers of `model` that the recipe names, in the blocks that it adapts, as a configuration says.

    Raises ModelError where no layer has one of the names in `lora_target_modules`.
    """
    targets: Any = adapter.lora_target_modules
    layers = None
    if adapter.num_layers != "all":
        layers = list(adapted(model, adapter))
        targets = linear_names(blocks_of(model)) if targets == "all-linear" else targets
    config = kind(
        lora_alpha=adapter.lora_alpha, lora_dropout=adapter.lora_dropout, layers_to_transform=layers,  # type: ignore[arg-type]
        target_modules=targets if isinstance(targets, str) else list(targets), **settings,
    )  # fmt: skip
    try:
        with quiet():
            return get_peft_model(model, config)  # type: ignore[arg-type, return-value]
    except ValueError as error:
        raise ModelError(
            f"no layer is called {', '.join(targets) if not isinstance(targets, str) else targets}",
            where="adapter.lora_target_modules",
            mend=f"Linear layers of this model: {', '.join(linear_names(model))}",
        ) from error


def load_peft(model: nn.Module, folder: Path, name: str = "default") -> PeftModel:
    """Put the adapter in `folder` (PEFT's layout) on `model`, frozen; beside the others, if it has some."""
    with quiet():
        if isinstance(model, PeftModel):
            model.load_adapter(str(folder), name)
        else:
            model = PeftModel.from_pretrained(model, str(folder), name)  # type: ignore[arg-type]
    fuse(model)
    return model  # type: ignore[return-value]


SAME_INPUT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"), ("query", "key", "value"))
"""Names of layers beside each other that read the same states."""
WAITING = "_waiting"
ROUTE: ContextVar[Mapping[str, Tensor] | None] = ContextVar("ROUTE", default=None)
"""In a trunk that several adapters share: adapter → the tokens to which LoRA layers add it, and no others."""


def fuse(model: nn.Module) -> None:
    """Give every LoRA linear layer of `model` the lean forward; those that read the same states have one together."""
    for parent in model.modules():
        layers = {name: child for name, child in parent.named_children() if _fusable(child)}
        for names in (*SAME_INPUT, *((name,) for name in layers)):
            together = Together([layers.pop(name) for name in names if name in layers])
            for layer in together.layers:
                layer.forward = LeanForward(layer, together)


def _fusable(module: nn.Module) -> bool:
    return type(module) is LoraLinear


@contextmanager
def quiet() -> Iterator[None]:
    """PEFT asks transformers by old names, says how it reads GPT-2's layers, corrects settings that it made itself, and
    wonders at layers that have no rank left; that is no news for the user."""
    told = ("fan_in_fan_out is set", "The following (rank|alpha)_pattern keys", r"Adapter '\w+': \d+ LoRA tensor")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
        for message in told:
            warnings.filterwarnings("ignore", message=message)
        yield


def linear_names(model: nn.Module) -> list[str]:
    """The distinct last names of the linear layers, in the order in which they first appear."""
    return list(dict.fromkeys(name.rpartition(".")[2] for name, m in model.named_modules() if isinstance(m, nn.Linear)))


class Together:
    """Layers that are handed the same tensor, one after the other; the first to be asked does the work of all."""

    def __init__(self, layers: list[Any]) -> None:
        self.layers = layers

    def __call__(self, layer: Any, x: Tensor) -> Tensor:
        """What `layer` makes of x. What the others make of it waits on x itself, as lanes share the layers."""
        waiting = getattr(x, WAITING, {})
        if layer not in waiting:
            plain = [(each, found) for each in self.layers if (found := _adapted(each)) is not None]
            outs = lora_linears(x, [found for _, found in plain])
            waiting = {each: out for (each, _), out in zip(plain, outs, strict=True)}
            setattr(x, WAITING, waiting)
        return waiting.pop(layer)


class LeanForward:
    """The forward of one layer: the lean function where the layer is in PEFT's plain state, else PEFT's own."""

    def __init__(self, layer: Any, together: Together) -> None:
        self.layer, self.together, self.dora = layer, together, Dora()

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        layer, route = self.layer, ROUTE.get()
        if route is not None:
            return _routed(layer, x, route)
        name = None if args or kwargs else _only_adapter(layer)
        if name is None:
            return type(layer).forward(layer, x, *args, **kwargs)
        if is_dora(layer, name):
            return self.dora(layer, name, x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], -1)
        return self.together(layer, x)


def _only_adapter(layer: Any) -> str | None:
    """The adapter of a layer that is in a state which the functions here know; None in any other."""
    names, base = layer.active_adapters, layer.base_layer
    if layer.disable_adapters or layer.merged or len(names) != 1 or names[0] not in layer.lora_A:
        return None
    known = type(base) in (nn.Linear, HeldLinear) and _is_plain(layer, names[0])
    return names[0] if known else None


def _adapted(layer: Any) -> Adapted | None:
    """The matrices of a layer with one plain adapter; None for any other."""
    name, base = _only_adapter(layer), layer.base_layer
    if name is None or is_dora(layer, name):
        return None
    return Adapted(base.weight, base.bias, layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name])


def _routed(layer: LoraLinear, x: Tensor, route: Mapping[str, Tensor]) -> Tensor:
    out = layer.base_layer(x)
    flat, out_flat = x.reshape(-1, x.shape[-1]), out.view(-1, out.shape[-1])
    for name, tokens in route.items():
        if name in layer.lora_A:
            low = layer.lora_A[name](layer.lora_dropout[name](flat[tokens]))
            out_flat.index_add_(0, tokens, layer.lora_B[name](low), alpha=layer.scaling[name])
    return out


def _is_plain(layer: Any, name: str) -> bool:
    dropout = layer.lora_dropout[name]
    silent = isinstance(dropout, nn.Identity) or not layer.training
    known = name not in layer.lora_variant or is_dora(layer, name)
    return silent and known and layer.lora_B[name].bias is None
