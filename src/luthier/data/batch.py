"""One type of batch: packed, never padded; what each token sees and what counts are written out, not implied.

Shapes: T tokens in the pack, N targets, R rows. Segments form a forest: a child sees its ancestors and itself, so
that rows which begin alike (a system prompt, the two answers of a pair, the rollouts of one prompt) compute the
common part once. Because the last token of a shared part predicts the first token of every child, targets are
explicit triples and nothing is "shifted by one".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from luthier.data.forest import Row, Segment, lay


@dataclass(frozen=True, slots=True)
class Batch:
    """Packed rows.

    ids_T, positions_T: token ids and their position within the row they belong to.
    source_N, target_N, weight_N, row_N: the token at pack index `source` predicts the id `target`; the prediction
    counts `weight` and belongs to row `row` (0 … rows-1). Targets of weight 0 are left out.
    leaves: the index of each row's own segment, which continues those it shares.
    last_R: pack index of each row's last token; lengths_R: its tokens, shared ones included.
    numbers_R: each row's number in the data. columns: further per-row values, first dimension R. target_columns:
    further values of each target, first dimension N. token_columns: further values of each token, first dimension T.
    """

    ids_T: Tensor
    positions_T: Tensor
    segments: tuple[Segment, ...]
    leaves: tuple[int, ...]
    source_N: Tensor
    target_N: Tensor
    weight_N: Tensor
    row_N: Tensor
    last_R: Tensor
    lengths_R: Tensor
    numbers_R: Tensor
    columns: dict[str, Tensor] = field(default_factory=dict)
    target_columns: dict[str, Tensor] = field(default_factory=dict)
    token_columns: dict[str, Tensor] = field(default_factory=dict)

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

    def target_column(self, name: str) -> Tensor:
        """The values of each target called `name`, first dimension N."""
        return self.target_columns[name]

    def pairs(self, values_R: Tensor) -> Tensor:
        """Values of rows that stand in pairs, chosen before rejected: (R,) → (R / 2, 2)."""
        return values_R.view(len(values_R) // 2, 2)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on `device`; copies from page-locked memory are not waited for."""
        if torch.device(device).type == "cpu":
            return self._moved(lambda tensor: tensor.to(device))
        return self._moved(lambda tensor: tensor.to(device, non_blocking=tensor.is_pinned()))

    def pinned(self) -> Batch:
        """The same batch in page-locked memory; needs a GPU."""
        return self._moved(torch.Tensor.pin_memory)

    def _moved(self, move: Callable[[Tensor], Tensor]) -> Batch:
        tensors: dict[str, Any] = {name: move(getattr(self, name)) for name in TENSORS}
        columns = {name: move(value) for name, value in self.columns.items()}
        targets = {name: move(value) for name, value in self.target_columns.items()}
        tokens = {name: move(value) for name, value in self.token_columns.items()}
        return replace(self, **tensors, columns=columns, target_columns=targets, token_columns=tokens)


TENSORS = (
    "ids_T", "positions_T", "source_N", "target_N", "weight_N", "row_N", "last_R", "lengths_R", "numbers_R",
)  # fmt: skip


def pack(rows: Sequence[Row], columns: Mapping[str, np.ndarray] | None = None, share_prefix: bool = False) -> Batch:
    """Lay rows end to end in one pack; with `share_prefix`, what neighbours begin with is laid once.

    Sharing is for causal models only: in a bidirectional one the prefix would depend on what follows it.
    """
    forest = lay(rows, share_prefix)
    counted = [np.flatnonzero(row.weights[1:]) + 1 for row in rows]
    placed = list(zip(rows, forest.places, counted, strict=True))
    numbers = np.array([row.number for row in rows], dtype=np.int64)
    return Batch(
        ids_T=_long(forest.ids),
        positions_T=_long(forest.positions),
        segments=tuple(forest.segments),
        leaves=tuple(forest.leaves),
        source_N=_long([place[targets - 1] for _, place, targets in placed]),
        target_N=_long([row.ids[targets] for row, _, targets in placed]),
        weight_N=torch.from_numpy(np.concatenate([r.weights[targets] for r, _, targets in placed]).astype(np.float32)),
        row_N=_long([np.full(len(targets), index) for index, targets in enumerate(counted)]),
        last_R=torch.tensor([place[-1] for place in forest.places]),
        lengths_R=torch.tensor([len(row.ids) for row in rows]),
        numbers_R=torch.from_numpy(numbers),
        columns=_columns(columns or {}, numbers),
    )


def unpacked(numbers: np.ndarray, lengths: np.ndarray, columns: Mapping[str, np.ndarray]) -> Batch:
    """A batch of rows (R,) without their tokens: all that counts stands in its columns."""
    none = torch.empty(0, dtype=torch.int64)
    return Batch(
        ids_T=none, positions_T=none, segments=(), leaves=(),
        source_N=none, target_N=none, weight_N=torch.empty(0), row_N=none,
        last_R=none, lengths_R=torch.from_numpy(lengths[numbers].astype(np.int64)),
        numbers_R=torch.from_numpy(numbers), columns=_columns(columns, numbers),
    )  # fmt: skip


def hollow(batch: Batch) -> Batch:
    """A token of the batch and no row: it goes through a model and counts for nothing."""
    columns, targets = ({n: value[:0] for n, value in every.items()} for every in (batch.columns, batch.target_columns))
    return Batch(
        ids_T=batch.ids_T[:1], positions_T=batch.positions_T[:1], segments=(Segment(0, 1),), leaves=(),
        source_N=batch.source_N[:0], target_N=batch.target_N[:0], weight_N=batch.weight_N[:0],
        row_N=batch.row_N[:0], last_R=batch.last_R[:0], lengths_R=batch.lengths_R[:0],
        numbers_R=batch.numbers_R[:0], columns=columns, target_columns=targets,
    )  # fmt: skip


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


def spread(lengths: Sequence[int], budget: int, lanes: int, costs: Sequence[float] | None = None) -> list[list[int]]:
    """Deal rows into micro-batches of at most `budget` tokens (a longer row stands alone), so that as many `lanes`,
    each of which takes the next one when it is free, end at about the same time.

    Rows are dealt to lanes first, then those of a lane to as few micro-batches of about even cost as the budget allows;
    dear micro-batches come first. A row costs as many tokens as it has, or what `costs` says. Rows keep their order
    within a micro-batch.
    """
    each = lengths if costs is None else costs
    parts = [part for own in _dealt(range(len(lengths)), lanes, each) for part in _within(own, lengths, budget, each)]
    return sorted(parts, key=lambda part: (-sum(each[i] for i in part), part))


def _within(rows: Sequence[int], lengths: Sequence[int], budget: int, costs: Sequence[float]) -> list[list[int]]:
    """These rows in micro-batches of at most `budget` tokens."""
    count = -(-sum(min(lengths[i], budget) for i in rows) // budget)
    while True:
        parts = _dealt(rows, count, costs)
        if all(len(part) == 1 or sum(lengths[i] for i in part) <= budget for part in parts):
            return parts
        count += 1


def _dealt(rows: Sequence[int], count: int, costs: Sequence[float]) -> list[list[int]]:
    """Rows in at most `count` parts that cost about the same: the dearest row first, each to the cheapest part (Graham
    1969, longest processing time first)."""
    parts: list[list[int]] = [[] for _ in range(min(count, len(rows)))]
    sums = [0.0] * len(parts)
    for row in sorted(rows, key=lambda i: -costs[i]):
        cheapest = sums.index(min(sums))
        parts[cheapest].append(row)
        sums[cheapest] += costs[row]
    return [sorted(part) for part in parts]


def _columns(columns: Mapping[str, np.ndarray], numbers: np.ndarray) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(values[numbers])) for name, values in columns.items()}


def _long(pieces: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate(pieces).astype(np.int64))
