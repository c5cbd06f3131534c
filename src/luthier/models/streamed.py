"""A frozen base that is larger than memory: the matrices of its linear layers stay in their files.

Each is read when a product needs it, in the forward and again in the backward, and let go at once. It is read and not
mapped, so no page of a file counts as the process's own. All else (embeddings, output layer, norms) is in memory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import FileIO
from typing import Any

import torch
from torch import Tensor

from luthier.errors import ModelError
from luthier.models.held import HeldLinear
from luthier.models.packed import fill, linear_layers
from luthier.models.weights import Place

TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


WITHOUT = "Write `machine.stream_base: false`"


class OnDisk:
    """A matrix in a safetensors file."""

    def __init__(self, place: Place, file: FileIO) -> None:
        self.place, self.file, self.shape = place, file, torch.Size(place.shape)
        self.numbers = torch.empty(0, dtype=torch.uint8)

    def matrix(self, out: Tensor) -> Tensor:
        """Read its numbers into `out` (out, in)."""
        if out.dtype == TYPES[self.place.dtype]:
            return read(self.place, self.file, out)
        return out.copy_(read(self.place, self.file))


class InHostMemory:
    """A matrix in the host's memory, for products on a GPU."""

    def __init__(self, place: Place, file: FileIO, device: str) -> None:
        self.host, self.shape = read(place, file).pin_memory(), torch.Size(place.shape)
        self.numbers = torch.empty(0, dtype=torch.uint8, device=device)

    def matrix(self, out: Tensor) -> Tensor:
        """Copy its numbers into `out` (out, in) on the device."""
        return out.copy_(self.host, non_blocking=True)


def read(place: Place, file: FileIO, out: Tensor | None = None) -> Tensor:
    """The tensor at a place of an open file, in the type that it has there; written into `out`, if that is given."""
    tensor = torch.empty(place.shape, dtype=TYPES[place.dtype]) if out is None else out
    room, done = tensor.view(-1).view(torch.uint8).numpy().data, 0
    while done < len(room):
        got = os.preadv(file.fileno(), [room[done:]], place.start + done)
        if not got:
            raise ModelError("ends before its weights do", str(place.file), "Copy it again")
        done += got
    return tensor


def stream(model: Any, places: Mapping[str, Place], device: str) -> Any:
    """Give a model without weights those of its files; its linear layers read theirs anew each time.

    Raises ModelError where a weight has another name or shape in the files than in the model.
    """
    files = {file: FileIO(file) for file in {place.file for place in places.values()}}
    layers = dict(linear_layers(model))
    if not layers:
        raise ModelError("has no linear layers that could be left in its files", type(model).__name__, WITHOUT)
    for name, layer in layers.items():
        place = _found(model, places, f"{name}.weight", layer.weight)
        held = OnDisk(place, files[place.file]) if device == "cpu" else InHostMemory(place, files[place.file], device)
        model.set_submodule(name, HeldLinear(layer, held))
    rest = {}
    for name, tensor in model.state_dict().items():
        if name.rpartition(".")[0] in layers and name.endswith(".weight"):
            continue
        if _name_in_files(model, places, name) is not None or not _is_tied(model, name):
            place = _found(model, places, name, tensor)
            rest[name] = read(place, files[place.file]).to(device, torch.float32)
    fill(model, rest)
    return model.to(device)


def _found(model: Any, places: Mapping[str, Place], name: str, tensor: Tensor) -> Place:
    own = _name_in_files(model, places, name)
    if own is None or places[own].dtype not in TYPES or places[own].shape != tuple(tensor.shape):
        raise ModelError(
            f"its files do not hold {name} as the model has it, so it cannot be read while it is used",
            type(model).__name__, WITHOUT,
        )  # fmt: skip
    return places[own]


def _name_in_files(model: Any, places: Mapping[str, Place], name: str) -> str | None:
    prefix = f"{model.base_model_prefix}."
    return next((own for own in (name, name.removeprefix(prefix), prefix + name) if own in places), None)


def _is_tied(model: Any, name: str) -> bool:
    return name in model.all_tied_weights_keys
