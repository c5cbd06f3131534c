"""Safetensors files that may be larger than memory, written one tensor after the other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

TYPES = {torch.float32: "F32", torch.int64: "I64", torch.int32: "I32", torch.int8: "I8", torch.uint8: "U8",
         torch.bool: "BOOL"}  # fmt: skip


def write_tensors(path: Path, tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Write named tensors to `path`, whole or not at all, holding one of them at a time.

    Those of wide numbers stand first, so that each begins at a multiple of its numbers' width.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f"{path.name}.", dir=path.parent) as scratch:
        bodies = {width: Path(scratch) / str(width) for width in (8, 4, 1)}
        files = {width: body.open("wb") for width, body in bodies.items()}
        entries: list[tuple[str, Tensor, int]] = []
        for name, tensor in tensors:
            file = files[tensor.element_size()]
            entries.append((name, tensor.to("meta"), file.tell()))
            file.write(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        for file in files.values():
            file.close()
        whole = Path(scratch) / "whole"
        with whole.open("wb") as out:
            out.write(_header(entries, {width: body.stat().st_size for width, body in bodies.items()}))
            for body in bodies.values():
                with body.open("rb") as numbers:
                    shutil.copyfileobj(numbers, out, 1 << 20)
        whole.rename(path)


def _header(entries: list[tuple[str, Tensor, int]], sizes: dict[int, int]) -> bytes:
    first = {8: 0, 4: sizes[8], 1: sizes[8] + sizes[4]}
    header: dict[str, Any] = {}
    for name, tensor, place in entries:
        start = first[tensor.element_size()] + place
        header[name] = {"dtype": TYPES[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [start, start + tensor.numel() * tensor.element_size()]}  # fmt: skip
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw
