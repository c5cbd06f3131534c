"""A partly frozen trunk, entered at its first trained block with states that were computed before.

The blocks below the entrance hand on what they are told; the rest of the family's own forward runs as ever: positions,
rotations, and what stands behind the last block. So a trunk is entered as it is left, whatever its embeddings do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from luthier.data.batch import Batch, pack
from luthier.data.forest import Row
from luthier.data.rendered import Joined
from luthier.data.stream import MakeBatches, Rows, packed
from luthier.models.adapt.blocks import blocks_of
from luthier.models.attention import ancestry
from luthier.models.context import told
from luthier.models.features import BUDGET_TOKENS, Progress
from luthier.models.kept import kept
from luthier.models.kept_states import parts_of
from luthier.models.lanes import lanes_for, side_by_side
from luthier.models.policy import ENTRANCE, Policy

ReadStates = Callable[[int], np.ndarray]
"""Number of a row → its states before the entrance, (L, H) float32."""
_LEAVING: ContextVar[bool] = ContextVar("_LEAVING", default=False)


class _Reached(Exception):
    """Ends a forward pass at the entrance."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


class Below:
    """The forward of a block below the entrance: its own, or what it is told to hand on."""

    def __init__(self, block: nn.Module, last: bool) -> None:
        self.block, self.last = block, last
        self.more: tuple[Any, ...] | None = None

    def __call__(self, *args: Any, **options: Any) -> Any:
        given = ENTRANCE.get()
        if given is not None:
            states = given if self.last else args[0] if args else options["hidden_states"]
            return states if self.more is None else (states, *self.more)
        out = type(self.block).forward(self.block, *args, **options)
        self.more = out[1:] if isinstance(out, tuple) else None
        if self.last and _LEAVING.get():
            raise _Reached(out[0] if isinstance(out, tuple) else out)
        return out


def open_entrance(policy: Policy, block: int) -> None:
    """Let the policy be entered at `block` (from 0), by batches with the token column `entrance`."""
    blocks = blocks_of(policy.wrapped)
    for number in range(block):
        blocks[number].forward = Below(blocks[number], number == block - 1)
    once = pack([Row(np.ones(2, np.int64), np.zeros(2, np.float32), 0)]).to(policy.device)
    with policy.evaluating():
        states_before(policy, once)  # each block learns what it hands on beside the states
    below: list[Any] = [blocks[number].forward for number in range(block)]
    assert all(extra is None for own in below for extra in own.more or ()), "blocks hand on more than states"


def states_before(policy: Policy, batch: Batch) -> Tensor:
    """The states (T, H) that the blocks below the entrance make of a batch; what is above does not run."""
    try:
        with told(_LEAVING, True):
            policy.hidden(batch)
    except _Reached as reached:
        return reached.states[0]
    raise AssertionError("the entrance was not opened")


def entering(make: MakeBatches, read: ReadStates) -> MakeBatches:
    """Give the states of their rows to the batches of `make`."""

    def given(batch: Batch) -> Batch:
        states: Tensor | None = None
        for number, leaf in zip(batch.numbers_R.tolist(), batch.leaves, strict=True):
            own = torch.from_numpy(read(number))
            states = own.new_empty(len(batch.ids_T), own.shape[1]) if states is None else states
            done = 0
            for start, end in ancestry(batch.segments, batch.segments[leaf]):
                states[start:end] = own[done : done + end - start]
                done += end - start
        assert states is not None, "a batch has rows"
        return replace(batch, token_columns={**batch.token_columns, "entrance": states})

    return lambda numbers: [given(batch) for batch in make(numbers)]


@dataclass(frozen=True)
class States:
    """States of rows in files of consecutive rows, read a row at a time.

    They are read and not mapped: what is mapped would count as memory of the process, though it is the system's.
    """

    parts: Sequence[np.memmap]
    firsts: np.ndarray
    """The first row of each part, (parts,)."""
    offsets: np.ndarray
    """Tokens before each row, (rows + 1,)."""

    def __call__(self, number: int) -> np.ndarray:
        place = int(np.searchsorted(self.firsts, number, side="right")) - 1
        part = self.parts[place]
        before = int(self.offsets[number] - self.offsets[self.firsts[place]])
        length, width = int(self.offsets[number + 1] - self.offsets[number]), part.shape[1]
        start = part.offset + before * width * part.itemsize
        assert part.filename is not None
        return np.fromfile(part.filename, part.dtype, length * width, offset=start).reshape(length, width)


def kept_states(policy: Policy, rows: Rows, key: str, cache: Path, progress: Progress) -> ReadStates:
    """The states of all rows before the entrance, which is open; computed where they are not on disk.

    `key` names the weights and the entrance. A row's states do not depend on what it is packed with.
    """
    if isinstance(rows, Joined):
        own = [kept_states(policy, part, key, cache, progress) for part in rows.parts]
        ends = np.cumsum([len(part) for part in rows.parts])

        def read(number: int) -> np.ndarray:
            which = int(np.searchsorted(ends, number, side="right"))
            return own[which](number - int(ends[which - 1] if which else 0))

        return read
    width = int(policy.wrapped.config.hidden_size)  # type: ignore[union-attr, arg-type]
    numbers = parts_of(rows.lengths, width)
    files = [kept(cache, key, rows, lambda part=part: _compute(policy, rows, part, progress), part) for part in numbers]  # type: ignore[misc]
    firsts = np.array([part.start for part in numbers])
    return States(files, firsts, np.concatenate([[0], np.cumsum(rows.lengths)]))  # type: ignore[arg-type]


def _compute(policy: Policy, rows: Rows, part: range, progress: Progress) -> np.ndarray:
    """The states of consecutive rows, (tokens, H) float32; decoders compute what the rows share once for each pack."""
    batches = packed(rows, BUDGET_TOKENS, share_prefix=policy.pooling == "last")(part)
    found: list[np.ndarray] = []

    @torch.no_grad()
    def of(batch: Batch) -> np.ndarray:
        states = states_before(policy, batch.to(policy.device)).float().cpu()
        leaves = [batch.segments[leaf] for leaf in batch.leaves]
        spans = [span for leaf in leaves for span in ancestry(batch.segments, leaf)]
        return torch.cat([states[start:end] for start, end in spans]).numpy()

    with policy.evaluating():
        done = part.start
        for batch, states in zip(batches, side_by_side(of, batches, lanes_for(policy)), strict=True):
            found.append(states)
            done += batch.rows
            progress(done, len(rows))
    return np.concatenate(found)
