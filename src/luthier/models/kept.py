"""Arrays over rows that take a model to compute, kept on disk by content. Loads no torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from luthier.data.stream import Rows


def kept(
    cache: Path, key: str, rows: Rows, compute: Callable[[], np.ndarray], numbers: Sequence[int] | None = None
) -> np.ndarray:
    """What `compute` returns, memory-mapped; computed once for each key, version of torch, and content of the rows.

    `key` names the weights and what is computed; of the rows, or those that `numbers` chooses, token ids and which of
    them count are hashed here.
    """
    path = kept_path(cache, key, rows, range(len(rows)) if numbers is None else numbers)
    if not path.exists():
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        with temporary.open("wb") as file:
            np.save(file, compute())
        temporary.replace(path)
    return np.load(path, mmap_mode="r")


def kept_path(cache: Path, key: str, rows: Rows, numbers: Sequence[int]) -> Path:
    """The file of these rows."""
    return cache / f"{_digest(rows, key, numbers)}.npy"


def _digest(rows: Rows, key: str, numbers: Sequence[int]) -> str:
    digest = hashlib.sha256(f"{key} {version('torch')}".encode())
    digest.update(rows.lengths[list(numbers)].astype(np.int64).tobytes())
    for number in numbers:
        ids, weights = rows.row(number)
        digest.update(np.ascontiguousarray(ids).astype(np.int32).tobytes())
        digest.update(np.packbits(weights > 0).tobytes())
    return digest.hexdigest()[:32]
