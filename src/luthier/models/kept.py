"""Arrays over rows that take a model to compute, kept on disk by content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from luthier.data.stream import Rows


def kept(
    cache: Path, key: str, rows: Rows, compute: Callable[[], np.ndarray], numbers: Sequence[int] | None = None
) -> np.ndarray:
    """What `compute` returns, memory-mapped; computed once for each key, version of torch, and content of the rows.

    `key` names the weights and what is computed; of the rows, or those that `numbers` chooses, token ids and which of
    them count are hashed here.
    """
    path = cache / f"{_digest(rows, key, range(len(rows)) if numbers is None else numbers)}.npy"
    if not path.exists():
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        with temporary.open("wb") as file:
            np.save(file, compute())
        temporary.replace(path)
    return np.load(path, mmap_mode="r")


def _digest(rows: Rows, key: str, numbers: Sequence[int]) -> str:
    digest = hashlib.sha256(f"{key} {torch.__version__}".encode())
    digest.update(rows.lengths[list(numbers)].astype(np.int64).tobytes())
    for number in numbers:
        ids, weights = rows.row(number)
        digest.update(np.ascontiguousarray(ids).astype(np.int32).tobytes())
        digest.update(np.packbits(weights > 0).tobytes())
    return digest.hexdigest()[:32]
