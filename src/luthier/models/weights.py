"""Safetensors files of a model folder, checked by their headers alone."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.errors import ModelError

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of `folder`, all shards present; ModelError otherwise. Pickles are refused."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        return [single]
    if not index.exists():
        raise _no_safetensors(folder)
    shards = sorted({folder / shard for shard in json.loads(index.read_text())["weight_map"].values()})
    missing = [shard.name for shard in shards if not shard.exists()]
    if missing:
        raise ModelError(f"lacks {', '.join(missing)}, named by {index.name}", str(folder), "Copy the missing files")
    return shards


def count_parameters(files: list[Path]) -> int:
    """Floating-point numbers stored in `files`."""
    entries = [entry for file in files for entry in _header(file).values()]
    return sum(math.prod(entry["shape"]) for entry in entries if entry["dtype"] in FLOATS)


@dataclass(frozen=True)
class Place:
    """Where the numbers of a tensor stand."""

    file: Path
    start: int
    """Bytes from the beginning of the file."""
    shape: tuple[int, ...]
    dtype: str
    """As safetensors calls it: `F32`, `BF16`, …"""


def places(files: list[Path]) -> dict[str, Place]:
    """Where each tensor of `files` stands, by its name."""
    found = {}
    for file in files:
        header = _header(file)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        first = file.stat().st_size - end
        for name, entry in header.items():
            found[name] = Place(file, first + entry["data_offsets"][0], tuple(entry["shape"]), entry["dtype"])
    return found


def module_names(files: list[Path]) -> set[str]:
    """The last name of every module that has a weight matrix: `q_proj`, `lm_head`, …"""
    names = {name for file in files for name, entry in _header(file).items() if len(entry["shape"]) == 2}
    return {name.split(".")[-2] for name in names if name.endswith(".weight") and name.count(".")}


def _header(path: Path) -> dict[str, Any]:
    """Name → dtype, shape and byte range of each tensor; ModelError for a broken file."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            raw = file.read(length) if length < size else b""
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", str(path), "Let this user read the file") from error
    try:
        header = json.loads(raw)
    except ValueError as error:
        raise ModelError("is not a safetensors file, or is cut short", str(path), "Copy it again") from error
    header.pop("__metadata__", None)
    expected = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if size != expected:
        raise ModelError(f"has {size} bytes where its header says {expected}", str(path), "Copy it again")
    return header


def _no_safetensors(folder: Path) -> ModelError:
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if not pickles:
        return ModelError("holds no model.safetensors", str(folder), "Copy the weights into the folder")
    return ModelError(
        f"holds its weights as pickles ({', '.join(pickles[:3])}), which can run code when read",
        str(folder),
        "If you trust them, convert: AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder)",
    )
