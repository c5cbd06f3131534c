"""Which files hold the states of rows before a block, found without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from luthier.models.kept import kept_path

if TYPE_CHECKING:
    from luthier.data.stream import Rows

STATES = "states"
"""The cache that they lie in."""
PART_BYTES = 1 << 26
"""About the size of a file; filling begins again after the last whole one."""


def states_key(weights_key: str, block: int) -> str:
    """What decides the states before `block` (from 0) beside the rows' tokens."""
    return f"{weights_key} before {block}"


def parts_of(lengths_R: np.ndarray, width: int) -> list[range]:
    """The consecutive rows of each file, of about `PART_BYTES`."""
    starts = np.cumsum(lengths_R) - lengths_R
    part_R = starts * width * 4 // PART_BYTES
    firsts = [0, *(np.flatnonzero(np.diff(part_R)) + 1).tolist()]
    return [range(*pair) for pair in zip(firsts, [*firsts[1:], len(lengths_R)], strict=True)]


def are_kept(cache: Path, key: str, rows: Rows, width: int) -> bool:
    """Whether the states of all rows are on disk."""
    return all(kept_path(cache, key, rows, part).exists() for part in parts_of(rows.lengths, width))
