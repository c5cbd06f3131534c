"""Rows → optimizer steps, shuffled anew each epoch; which rows a step has depends on the seed and the step alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch

from luthier.data.batch import Batch, cut, pack, spread, unpacked
from luthier.data.forest import Row, shared_tokens
from luthier.errors import TrainingError

MakeBatches = Callable[[Sequence[int]], list[Batch]]
"""Numbers of rows, in order → the micro-batches that hold them."""


class Rows(Protocol):
    """What packing needs of rendered rows."""

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, (rows,)."""

    def __len__(self) -> int: ...

    def row(self, index: int, /) -> tuple[np.ndarray, np.ndarray]:
        """Token ids (L,) and weights (L,) of one row."""


@dataclass(frozen=True)
class Stream:
    """The rows of a run in the order in which they are learnt.

    Epochs follow each other without a gap: step k takes `batch_size` rows from place k·batch_size of an endless
    sequence of permutations of the `count` rows, up to `total` rows in all, so any step can be made again without
    those before it. With `world` ranks, rank r takes every world-th row of the step. `data` names the rows' content.
    """

    make: MakeBatches
    count: int
    batch_size: int
    total: int
    seed: int = 0
    data: str = ""
    rank: int = 0
    world: int = 1

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return -(-self.total // self.batch_size)

    def take(self, step: int) -> list[Batch]:
        """The micro-batches of optimizer step `step` for this rank."""
        return self.make(self.numbers(step)[self.rank :: self.world])

    def numbers(self, step: int) -> list[int]:
        """The numbers of the rows of a step, over all ranks."""
        first = step * self.batch_size
        places = range(first, min(first + self.batch_size, self.total))
        return [int(_order(self.seed, place // self.count, self.count)[place % self.count]) for place in places]

    def state(self) -> dict[str, Any]:
        """What a checkpoint must find unchanged to go on: the data and the order."""
        return {
            "data": self.data,
            "count": self.count,
            "batch_size": self.batch_size,
            "total": self.total,
            "seed": self.seed,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raise TrainingError where the checkpoint was made with other rows or another order."""
        refuse_changes(self.state(), state)


@dataclass(frozen=True)
class Interleaved:
    """Several streams at once: each step has the step of every one.

    Batches get a column, called `column`, with the number of their stream; their rows are numbered on, after those
    of the streams before.
    """

    streams: tuple[Stream, ...]
    column: str

    def take(self, step: int) -> list[Batch]:
        """The micro-batches of optimizer step `step`, first those of the first stream."""
        found, first = [], 0
        for number, stream in enumerate(self.streams):
            found += [self._marked(batch, number, first) for batch in stream.take(step)]
            first += stream.count
        return found

    def _marked(self, batch: Batch, number: int, first: int) -> Batch:
        columns = {**batch.columns, self.column: torch.full((batch.rows,), number)}
        return replace(batch, columns=columns, numbers_R=batch.numbers_R + first)

    def state(self) -> dict[str, Any]:
        """What a checkpoint must find unchanged to go on."""
        return {"streams": [stream.state() for stream in self.streams]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raise TrainingError where the checkpoint was made with other rows or another order."""
        refuse_changes(self.state(), state)


def refuse_changes(own: Mapping[str, Any], checkpoint: Mapping[str, Any]) -> None:
    """Raise TrainingError where a checkpoint holds other values than a run's own."""
    changed = [name for name, value in own.items() if checkpoint.get(name) != value]
    if changed:
        raise TrainingError(
            f"the checkpoint was written with another {', '.join(changed)} than this run has",
            mend="Start afresh with --fresh, or put back the data and the recipe of the checkpoint.",
        )


@dataclass(frozen=True)
class Costs:
    """What micro-batches take, in tokens that go through the trunk: one more target, and the square of a length."""

    target: float = 0.0
    square: float = 0.0

    def __call__(self, rows: Sequence[Row], share_prefix: bool) -> float:
        """Of rows that lie side by side."""
        tokens = sum(len(row.ids) for row in rows)
        tokens -= sum(shared_tokens(*pair) for pair in pairwise(rows)) if share_prefix else 0
        targets = sum(np.count_nonzero(row.weights[1:]) for row in rows)
        return tokens + self.target * targets + self.square * sum(len(row.ids) ** 2 for row in rows)


def packed(
    rows: Rows, budget: int, columns: Mapping[str, np.ndarray] | None = None, share_prefix: bool = False,
    lanes: int = 1, together: int = 1, costs: Costs = Costs(),
) -> MakeBatches:  # fmt: skip
    """Batches of tokens, cut into micro-batches of at most `budget` tokens, enough of them for `lanes`, which are to
    have equally much to do.

    With `together`, the numbers are those of units of so many consecutive rows, which stay in one micro-batch:
    unit u is rows u·together … (u + 1)·together - 1.
    """

    def make(numbers: Sequence[int]) -> list[Batch]:
        units = [[Row(*rows.row(i), i) for i in range(n * together, (n + 1) * together)] for n in numbers]
        lengths = [sum(len(row.ids) for row in unit) for unit in units]
        if lanes == 1:
            parts = cut(lengths, budget)
        else:
            parts = spread(lengths, budget, lanes, [costs(unit, share_prefix) for unit in units])
        return [pack([row for i in part for row in units[i]], columns, share_prefix) for part in parts]

    return make


def with_targets(
    make: MakeBatches, rows: Rows, columns: Mapping[str, np.ndarray], numbers: Sequence[int] | None = None
) -> MakeBatches:
    """Add values of each target, first dimension all targets of `rows` in order, to the batches that hold them.

    `numbers` says, in rising order, which rows `columns` are about, where it is not all.
    """
    counts = np.zeros(len(rows), np.int64)
    for i in range(len(rows)) if numbers is None else numbers:
        counts[i] = np.count_nonzero(rows.row(i)[1][1:])
    starts = np.concatenate([[0], np.cumsum(counts)])

    def chosen(batch: Batch) -> Batch:
        own = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in batch.numbers_R.tolist()])
        added = {name: torch.from_numpy(np.ascontiguousarray(values[own])) for name, values in columns.items()}
        return replace(batch, target_columns={**batch.target_columns, **added})

    return lambda numbers: [chosen(batch) for batch in make(numbers)]


def precomputed(lengths: np.ndarray, columns: Mapping[str, np.ndarray], together: int = 1) -> MakeBatches:
    """Batches without tokens, for rows whose features are already computed and stand in `columns`.

    With `together`, the numbers are those of units, as for `packed`.
    """

    def make(numbers: Sequence[int]) -> list[Batch]:
        rows = np.asarray(numbers, dtype=np.int64)[:, None] * together + np.arange(together)
        return [unpacked(rows.flatten(), lengths, columns)]

    return make


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, rows: int) -> np.ndarray:
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(rows)
