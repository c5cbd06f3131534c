"""How much of rows is computed: what neighbours in a pack begin with is laid once."""

from __future__ import annotations

from itertools import islice
from typing import Protocol

import numpy as np

from luthier.data.forest import Row, lay

PACKS, TOKENS = 8, 1024
"""Packs that are laid out to see it, and the tokens of each."""


class Rows(Protocol):
    """What this needs of rendered rows."""

    def __len__(self) -> int: ...

    def row(self, index: int, /) -> tuple[np.ndarray, np.ndarray]:
        """Token ids (L,) and weights (L,) of one row."""


def computed_share(rows: Rows, together: int = 1) -> float:
    """Tokens that are computed over tokens of data, in packs of rows drawn at random, or of units of `together`."""
    order = np.random.default_rng(0).permutation(len(rows) // together)
    numbers = iter([int(unit) * together + k for unit in order for k in range(together)])
    laid = counted = 0
    for _ in range(PACKS):
        pack: list[Row] = []
        while sum(len(row.ids) for row in pack) < TOKENS and (unit := list(islice(numbers, together))):
            pack += [Row(*rows.row(i), i) for i in unit]
        if pack:
            laid += lay(pack, share_prefix=True).segments[-1].end
            counted += sum(len(row.ids) for row in pack)
    return laid / counted if counted else 1.0
