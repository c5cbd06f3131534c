"""One type of batch: packed, never padded; what each token sees and what counts are written out, not implied.

Shapes: T tokens in the pack, N targets, R rows. Segments form a forest: a child sees its ancestors and itself, so
that rows which begin alike (a system prompt, the two answers of a pair, the rollouts of one prompt) compute the
common part once. Because the last token of a shared part predicts the first token of every child, targets are
explicit triples and nothing is "shifted by one".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

SHORTEST_SHARED_PREFIX = 8
"""Tokens; a shorter common beginning is not worth a segment of its own."""


class Segment(NamedTuple):
    """Tokens `start` to `end` (exclusive) of the pack; `parent` is the index of the segment it continues."""

    start: int
    end: int
    parent: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One rendered row: token ids (L,), the weight of predicting each of them (L,), and its number in the data."""

    ids: np.ndarray
    weights: np.ndarray
    number: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Packed rows.

    ids_T, positions_T: token ids and their position within the row they belong to.
    source_N, target_N, weight_N, row_N: the token at pack index `source` predicts the id `target`; the prediction
    counts `weight` and belongs to row `row` (0 … rows-1). Targets of weight 0 are left out.
    last_R: pack index of each row's last token; lengths_R: its tokens, shared ones included.
    numbers_R: each row's number in the data. columns: further per-row values, first dimension R.
    """

    ids_T: Tensor
    positions_T: Tensor
    segments: tuple[Segment, ...]
    source_N: Tensor
    target_N: Tensor
    weight_N: Tensor
    row_N: Tensor
    last_R: Tensor
    lengths_R: Tensor
    numbers_R: Tensor
    columns: dict[str, Tensor] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """R, the number of rows."""
        return len(self.numbers_R)

    @property
    def tokens(self) -> int:
        """Tokens of data in the batch: a shared prefix counts once for every row that has it."""
        return int(self.lengths_R.sum())

    def by_row(self, values_N: Tensor) -> Tensor:
        """Sum values of targets into their rows: (N,) → (R,)."""
        return torch.zeros(self.rows, dtype=values_N.dtype, device=values_N.device).index_add(0, self.row_N, values_N)

    def column(self, name: str) -> Tensor:
        """The per-row values called `name`, first dimension R."""
        return self.columns[name]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on `device`."""
        tensors = {name: getattr(self, name).to(device) for name in TENSORS}
        return replace(self, **tensors, columns={name: value.to(device) for name, value in self.columns.items()})


TENSORS = (
    "ids_T", "positions_T", "source_N", "target_N", "weight_N", "row_N", "last_R", "lengths_R", "numbers_R",
)  # fmt: skip


def pack(rows: Sequence[Row], columns: Mapping[str, np.ndarray] | None = None, share_prefix: bool = False) -> Batch:
    """Lay rows end to end in one pack; with `share_prefix`, what they all begin with is laid once.

    Sharing is for causal models only: in a bidirectional one the prefix would depend on what follows it.
    """
    shared = common_prefix(rows) if share_prefix else 0
    pieces = [rows[0].ids[:shared]] if shared else []
    segments = [Segment(0, shared)] if shared else []
    sources, targets, weights, owners, last = [], [], [], [], []
    start = shared
    for index, row in enumerate(rows):
        own = len(row.ids) - shared
        segments.append(Segment(start, start + own, 0 if shared else None))
        place = np.concatenate([np.arange(shared), np.arange(start, start + own)])
        counted = np.flatnonzero(row.weights[1:]) + 1
        sources.append(place[counted - 1])
        targets.append(row.ids[counted])
        weights.append(row.weights[counted])
        owners.append(np.full(len(counted), index))
        pieces.append(row.ids[shared:])
        last.append(start + own - 1)
        start += own
    positions = [np.arange(s.end - s.start) + (0 if s.parent is None else shared) for s in segments]
    numbers = np.array([row.number for row in rows], dtype=np.int64)
    return Batch(
        ids_T=_long(pieces),
        positions_T=_long(positions),
        segments=tuple(segments),
        source_N=_long(sources),
        target_N=_long(targets),
        weight_N=torch.from_numpy(np.concatenate(weights).astype(np.float32)),
        row_N=_long(owners),
        last_R=torch.tensor(last),
        lengths_R=torch.tensor([len(row.ids) for row in rows]),
        numbers_R=torch.from_numpy(numbers),
        columns=_columns(columns or {}, numbers),
    )


def unpacked(numbers: np.ndarray, lengths: np.ndarray, columns: Mapping[str, np.ndarray]) -> Batch:
    """A batch of rows (R,) without their tokens: all that counts stands in its columns."""
    none = torch.empty(0, dtype=torch.int64)
    return Batch(
        ids_T=none, positions_T=none, segments=(),
        source_N=none, target_N=none, weight_N=torch.empty(0), row_N=none,
        last_R=none, lengths_R=torch.from_numpy(lengths[numbers].astype(np.int64)),
        numbers_R=torch.from_numpy(numbers), columns=_columns(columns, numbers),
    )  # fmt: skip


def common_prefix(rows: Sequence[Row]) -> int:
    """Tokens that all rows begin with and none of them learns; 0 if too few to be worth sharing.

    Every row keeps at least one token of its own, and a target inside the prefix would be learnt once for all rows
    instead of once for each, so the prefix ends before the first of them.
    """
    if len(rows) < 2:
        return 0
    first = rows[0].ids
    limit = min(min(len(row.ids) - 1, _first_target(row.weights)) for row in rows)
    for row in rows[1:]:
        differs = np.flatnonzero(first[:limit] != row.ids[:limit])
        limit = int(differs[0]) if len(differs) else limit
    return limit if limit >= SHORTEST_SHARED_PREFIX else 0


def cut(lengths: Iterable[int], budget: int) -> list[list[int]]:
    """Cut consecutive rows into micro-batches of at most `budget` tokens (a longer row stands alone)."""
    parts: list[list[int]] = []
    room = 0
    for index, length in enumerate(lengths):
        if not parts or length > room:
            parts.append([])
            room = budget
        parts[-1].append(index)
        room -= length
    return parts


def _first_target(weights: np.ndarray) -> int:
    counted = np.flatnonzero(weights[1:])
    return int(counted[0]) + 1 if len(counted) else len(weights)


def _columns(columns: Mapping[str, np.ndarray], numbers: np.ndarray) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(values[numbers])) for name, values in columns.items()}


def _long(pieces: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate(pieces).astype(np.int64))
