"""Tensors of safetensors files as float32 arrays, read without torch."""

from __future__ import annotations

import numpy as np

from luthier.errors import ModelError
from luthier.models.weights import Place

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def read_tensor(place: Place) -> np.ndarray:
    """The numbers of one tensor. Raises ModelError for those of a type that is no plain floating point."""
    if place.dtype not in TYPES:
        raise ModelError(f"holds numbers of the type {place.dtype}", str(place.file), "Give weights of 16 or 32 bits")
    stored = np.memmap(place.file, np.dtype(TYPES[place.dtype]), "r", place.start, place.shape)
    if place.dtype == "BF16":
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32)
