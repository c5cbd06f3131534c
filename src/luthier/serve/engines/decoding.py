"""Rows that are decoded together: new ones join those under way, and each leaves when it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from luthier.data import forest
from luthier.data.batch import pack
from luthier.models.attention import Memory, Shelves
from luthier.models.policy import Policy
from luthier.serve.engines.choose import choose
from luthier.serve.engines.row import Row

SHORTEST_ROOM = 128
"""Tokens; the room of each further shelf is twice that of the one before."""
AHEAD = 64
"""A row begins with room for so many new tokens, or for all that it may write."""


@dataclass
class Shelf:
    """Rows of like length, in the order of their memory."""

    memory: Memory
    rows: list[Row] = field(default_factory=list)


class Decoding:
    """The rows under way, on shelves by the room that they need. Keys and values of `most_tokens` are held at most.

    A row that is alone may be longer than that. Where rows grow beyond it, the ones that came last step back.
    """

    def __init__(self, policy: Policy, most_tokens: int) -> None:
        self.policy, self.most_tokens = policy, most_tokens
        self.shelves: dict[int, Shelf] = {}
        self._order: list[Row] = []

    def __iter__(self) -> Iterator[Row]:
        """All rows, in the order in which they came."""
        yield from self._order

    def fits(self, rows: Sequence[Row]) -> bool:
        """Whether there is place for these rows beside those under way."""
        return self._tokens_with(Counter(_room(row.length, row.left) for row in rows)) <= self.most_tokens

    def enter(self, rows: Sequence[Row]) -> None:
        """Read what rows have so far, in one pack that lays common beginnings once; then each has one token more."""
        rows = sorted(rows, key=lambda row: (row.ask.adapter or "", *row.ask.prompt))
        batch = pack([row.packed(i) for i, row in enumerate(rows)], share_prefix=True).to(self.policy.device)
        memory = Memory(batch.segments, batch.leaves, max(row.length for row in rows), self.policy.device)
        self._write(rows, self.policy.hidden(batch, batch.last_R, memory=memory)[batch.last_R])
        lengths = memory.lengths.tolist()
        rooms: dict[int, list[int]] = {}
        for number, row in enumerate(rows):
            if not row.ended:
                rooms.setdefault(_room(lengths[number], row.left), []).append(number)
        for room, numbers in rooms.items():
            self._put([rows[number] for number in numbers], memory, numbers, room)
        self._order += [row for row in rows if not row.ended]

    def step(self) -> list[Row]:
        """One more token for each row; returns rows that had to step back, which may enter again."""
        back = self._move_up()
        shelves = list(self.shelves.values())
        rows = [row for shelf in shelves for row in shelf.rows]
        ids = torch.tensor([row.written[-1] for row in rows], device=self.policy.device)
        self._write(rows, self.policy.step(ids, Shelves([shelf.memory for shelf in shelves])))
        self.leave([row for row in rows if row.ended])
        return back

    def leave(self, rows: Sequence[Row]) -> None:
        """Forget these rows."""
        if rows:
            gone = set(rows)
            self._order = [row for row in self._order if row not in gone]
            for room in list(self.shelves):
                self._clear(room, gone)

    def _write(self, rows: Sequence[Row], hidden_BH: Tensor) -> None:
        for row, token in zip(rows, choose(self.policy.vocab_logits(hidden_BH), rows), strict=True):
            row.take(token)

    def _move_up(self) -> list[Row]:
        """Give rows that have filled their room twice as much; returns those that had to make place for others."""
        back: list[Row] = []
        for room, shelf in sorted(self.shelves.items(), reverse=True):
            full = [
                row for row, length in zip(shelf.rows, shelf.memory.lengths.tolist(), strict=True) if length == room
            ]
            for row in full:
                while len(self._order) > 1 and self._tokens_with(Counter([2 * room])) > self.most_tokens:
                    back.append(self._order[-1])
                    self.leave(back[-1:])
                if row not in back:
                    self._put([row], shelf.memory, [shelf.rows.index(row)], 2 * room)
                    self._clear(room, {row})
        return back

    def _put(self, rows: Sequence[Row], memory: Memory, numbers: Sequence[int], room: int) -> None:
        if room not in self.shelves:
            self.shelves[room] = Shelf(Memory((), (), room, self.policy.device))
        self.shelves[room].memory.join(memory, numbers)
        self.shelves[room].rows += rows

    def _clear(self, room: int, gone: Container[Row]) -> None:
        """Take rows off a shelf; the last ones go where they stood."""
        shelf = self.shelves[room]
        kept = _closed_up([place for place, row in enumerate(shelf.rows) if row not in gone])
        if not kept:
            del self.shelves[room]
        elif len(kept) < len(shelf.rows):
            shelf.memory.keep(kept)
            shelf.rows = [shelf.rows[place] for place in kept]

    def _tokens_with(self, coming: Counter[int]) -> int:
        held = [(room, shelf.memory.places_for(coming[room])) for room, shelf in self.shelves.items()]
        new = [(room, count) for room, count in coming.items() if room not in self.shelves]
        return sum(room * places for room, places in (*held, *new))


@torch.inference_mode()
def token_bytes(policy: Policy) -> int:
    """What the keys and values of one token take; found by reading one."""
    batch = pack([forest.Row(np.zeros(1, np.int64), np.zeros(1), 0)]).to(policy.device)
    memory = Memory(batch.segments, batch.leaves, 1, policy.device)
    policy.hidden(batch, memory=memory)
    return memory.token_bytes


def _room(length: int, left: int) -> int:
    room = SHORTEST_ROOM
    while room < length + min(left, AHEAD):
        room *= 2
    return room


def _closed_up(kept: Sequence[int]) -> list[int]:
    """The same places, so ordered that as few as can be move: the last ones fill the gaps."""
    inside = {place for place in kept if place < len(kept)}
    outside = (place for place in reversed(kept) if place not in inside)
    return [place if place in inside else next(outside) for place in range(len(kept))]
