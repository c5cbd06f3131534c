"""A base whose linear layers are held in fewer bits: made once, kept in a file, and mapped into memory from there.

The file is named by the content of the weights and by the form. Its tensors bear the names that they have in the model,
so that a model without weights can be filled with them; linear layers are written part by part, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn

from luthier.errors import ModelError
from luthier.models.eight_bit import Int8
from luthier.models.four_bit import BLOCK, Nf4
from luthier.models.held import HeldLinear, Packing
from luthier.models.locate import ModelFiles
from luthier.models.tensor_file import write_tensors

FORMS: dict[str, type[Packing]] = {"nf4": Nf4, "int8": Int8}
KEPT = ("lm_head", "embed_out")
"""What output layers are called; they and the embeddings keep their precision."""
VERSION = 1
"""Part of the name of a file: a change of what is written raises it."""
MARK = "::"
"""Stands between the name of a weight and that of its part."""


def packed_model(
    files: ModelFiles, skeleton: Callable[[], Any], whole: Callable[[], Any], device: str, dequantised: bool = False
) -> Any:
    """A model in the number format of `files`, on `device`; with `dequantised`, in float32 with the same values.

    `skeleton` makes it without weights; `whole`, which is called where no file is kept yet, as its own files have it.
    What is not a linear layer is in float32. Raises ModelError where nothing can be packed.
    """
    form = FORMS[files.number_format]
    path = files.cache / "packed" / f"{files.sha256}-{files.number_format}-{VERSION}-{transformers.__version__}"
    if not path.exists():
        write_tensors(path, _packed(whole(), files.number_format, form))
    model, tensors = skeleton(), load_file(path, device)
    parts: dict[str, dict[str, Tensor]] = {}
    for name in [name for name in tensors if MARK in name]:
        weight, _, part = name.partition(MARK)
        parts.setdefault(weight.removesuffix(".weight"), {})[part] = tensors.pop(name)
    for name, own in parts.items():
        layer, held = model.get_submodule(name), form(own)
        if dequantised:
            layer.weight = nn.Parameter(held.matrix(torch.empty(held.shape, device=device)), requires_grad=False)
        else:
            model.set_submodule(name, HeldLinear(layer, held))
    fill(model, tensors)
    return model.to(device)


def _packed(model: Any, number_format: str, form: type[Packing]) -> Iterator[tuple[str, Tensor]]:
    layers = {f"{name}.weight" for name, layer in linear_layers(model)}
    sizes = [weight.numel() for name, weight in model.named_parameters() if name in layers]
    if not sizes or (number_format == "nf4" and any(size % BLOCK for size in sizes)):
        raise ModelError(f"its linear layers cannot be cut into blocks of {BLOCK} weights", type(model).__name__,
                         "Leave `load_in_4bit` or `load_in_8bit` out")  # fmt: skip
    seen: set[int] = set()
    for name, weight in model.state_dict().items():
        if weight.data_ptr() in seen:
            continue  # tied to one before
        seen.add(weight.data_ptr())
        if name in layers:
            for part, tensor in form.parts(weight.float()).items():
                yield f"{name}{MARK}{part}", tensor
        else:
            yield name, weight.float() if weight.is_floating_point() else weight


def linear_layers(model: Any) -> Iterator[tuple[str, nn.Linear]]:
    """The linear layers of a model but its output layer, by name."""
    for name, module in model.named_modules():
        if type(module) is nn.Linear and name.rpartition(".")[2] not in KEPT:
            yield name, module


def fill(model: Any, tensors: Mapping[str, Tensor]) -> None:
    """Give a model without weights those of its parameters and buffers that bear these names, and tie what is tied.

    Raises ModelError where a parameter is left without numbers.
    """
    model.load_state_dict(tensors, strict=False, assign=True)
    model.tie_weights()
    empty = [name for name, weights in model.named_parameters() if weights.is_meta]
    if empty:
        raise ModelError(f"its files hold no weights for {', '.join(empty[:3])}", type(model).__name__)
