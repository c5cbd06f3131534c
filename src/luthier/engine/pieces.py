"""Named tensors in files that all processes of a run write, and that any number of processes can read.

    weights.safetensors      what each process holds whole
    weights.0.safetensors    what process 0 holds of tensors that are held in parts; one such file a process

A part says in its file's metadata which tensor it belongs to and where it begins there. Nothing is ever gathered: a
process reads from all files those numbers that it holds itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from luthier.engine import world


def in_parts(tensors: Mapping[str, Tensor]) -> dict[str, DTensor]:
    """Those of which processes hold different parts."""
    return {
        name: value for name, value in tensors.items()
        if isinstance(value, DTensor) and not all(placement.is_replicate() for placement in value.placements)
    }  # fmt: skip


def write(folder: Path, file: str, tensors: Mapping[str, Tensor]) -> list[Path]:
    """Write this process's share; the one that leads writes what all hold. Returns the files."""
    parts, written = in_parts(tensors), []
    if world.leads():
        written.append(folder / f"{file}.safetensors")
        save_file({name: _own(value) for name, value in tensors.items() if name not in parts}, written[-1])
    if parts:
        places = {name: json.dumps({"shape": list(value.shape), "start": _start(value)})
                  for name, value in parts.items()}  # fmt: skip
        written.append(folder / f"{file}.{world.process()}.safetensors")
        save_file({name: _own(value) for name, value in parts.items()}, written[-1], places)
    return written


def read(folder: Path, file: str, like: Callable[[str], Tensor | None]) -> dict[str, Tensor]:
    """All tensors by name, each held as `like(name)` is where that has its shape, and whole otherwise."""
    found = {name: _cut(value, like(name)) for name, value in load_file(folder / f"{file}.safetensors").items()}
    with_parts: dict[str, Tensor] = {}
    for path in sorted(folder.glob(f"{file}.*.safetensors")):
        with safe_open(path, "pt") as part:
            for name, place in (part.metadata() or {}).items():
                shape, start = (json.loads(place)[key] for key in ("shape", "start"))
                stored = part.get_slice(name)
                if name not in with_parts:
                    with_parts[name] = _empty(shape, stored, like(name))
                _fill(with_parts[name], stored, start)
    return found | with_parts


def _own(value: Tensor) -> Tensor:
    value = value.detach()
    return (value.to_local() if isinstance(value, DTensor) else value).contiguous()


def _start(value: DTensor) -> list[int]:
    return list(compute_local_shape_and_global_offset(value.shape, value.device_mesh, value.placements)[1])


def _cut(value: Tensor, like: Tensor | None) -> Tensor:
    """A whole tensor as `like` is held."""
    if not isinstance(like, DTensor) or like.shape != value.shape:
        return value
    held = _empty(list(value.shape), value, like)
    _fill(held, value, [0] * value.ndim)
    return held


def _empty(shape: list[int], stored: Any, like: Tensor | None) -> Tensor:
    """Room for a tensor of this shape, held as `like` where that is held in parts and has the same shape."""
    dtype = stored.dtype if isinstance(stored, Tensor) else stored[(slice(0, 0),) * len(shape)].dtype
    if not isinstance(like, DTensor) or list(like.shape) != shape:
        return torch.empty(shape, dtype=dtype)
    own = torch.empty_like(like.to_local(), dtype=dtype)
    return DTensor.from_local(own, like.device_mesh, like.placements, shape=like.shape, stride=like.stride())


def _fill(held: Tensor, stored: Any, start: list[int]) -> None:
    """Copy what a stored part, which begins at `start`, has of what is held."""
    own, begin = (held.to_local(), _start(held)) if isinstance(held, DTensor) else (held, [0] * held.ndim)
    size = list(stored.shape) if isinstance(stored, Tensor) else stored.get_shape()
    both = [
        (max(here, there), min(here + length, there + other))
        for here, length, there, other in zip(begin, own.shape, start, size, strict=True)
    ]
    if all(low < high for low, high in both):
        own[_box(both, begin)] = stored[_box(both, start)].to(own.device)


def _box(both: list[tuple[int, int]], begin: list[int]) -> tuple[slice, ...]:
    return tuple(slice(low - first, high - first) for (low, high), first in zip(both, begin, strict=True))
