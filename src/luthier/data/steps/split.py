"""Cut validation and test from train: stratified, groups and equal inputs together, fixed by a seed."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from luthier.data.example import Example
from luthier.data.steps.leakage import input_key
from luthier.data.steps.strata import strata


@dataclass(frozen=True)
class Unit:
    """Rows that must stay together: `rows` are indices, `key` decides where they go."""

    key: str
    rows: tuple[int, ...]
    stratum: str


def split(examples: Sequence[Example], shares: Mapping[str, float], seed: int) -> tuple[dict[str, list[Example]], str]:
    """The rows by split (`train` and the names in `shares`), and what they are stratified by.

    Of each stratum of n rows, `share × n` go to a split, rounded up or down at random in proportion to the
    remainder: the units with the lowest hash of seed, split and key. So rows added later move few others. One
    unit of each stratum stays in train. Rows with one group, or one input, are one unit.
    """
    of_row, words = strata(examples)
    left = _units(examples, of_row)
    sizes = Counter(of_row)
    taken: dict[str, list[Unit]] = {}
    for name, share in shares.items():
        room = {stratum: int(share * size + _chance(seed, name, stratum)) for stratum, size in sizes.items()}
        taken[name] = _take(left, room, name, seed) if share else []
        gone = {unit.key for unit in taken[name]}
        left = [unit for unit in left if unit.key not in gone]
    parts = {"train": left, **taken}
    return {name: [examples[row] for row in _rows(units)] for name, units in parts.items()}, words


def _take(units: Sequence[Unit], room: dict[str, int], name: str, seed: int) -> list[Unit]:
    """The units for one split; at least one, where two are left."""
    by_stratum = defaultdict(list)
    for unit in sorted(units, key=lambda unit: _chance(seed, name, unit.key)):
        by_stratum[unit.stratum].append(unit)
    taken: list[Unit] = []
    for stratum, members in by_stratum.items():
        free = room.get(stratum, 0)
        chosen: list[Unit] = []
        for unit in members:
            if len(unit.rows) <= free and len(chosen) < len(members) - 1:
                chosen.append(unit)
                free -= len(unit.rows)
        taken += chosen
    if taken or len(units) < 2:
        return taken
    return [min(units, key=lambda unit: (len(by_stratum[unit.stratum]) == 1, len(unit.rows), unit.key))]


def _units(examples: Sequence[Example], of_row: Sequence[str]) -> list[Unit]:
    """The rows joined by equal groups and equal inputs, however long the chain."""
    links = _Links()
    firsts = []
    for example in examples:
        keys = [f"input {input_key(example)}"]
        if example.group is not None:
            keys.append(f"group {example.group}")
        links.join(keys)
        firsts.append(keys[0])
    rows = defaultdict(list)
    for index, key in enumerate(firsts):
        rows[links.root(key)].append(index)
    return [Unit(key, tuple(members), _usual(of_row, members)) for key, members in rows.items()]


class _Links:
    """Disjoint sets of keys; the root of a set is its smallest key, whatever the order of rows."""

    def __init__(self) -> None:
        self.parents: dict[str, str] = {}

    def join(self, keys: Sequence[str]) -> None:
        roots = sorted(self.root(key) for key in keys)
        for root in roots[1:]:
            self.parents[root] = roots[0]

    def root(self, key: str) -> str:
        path = []
        while (parent := self.parents.setdefault(key, key)) != key:
            path.append(key)
            key = parent
        for step in path:
            self.parents[step] = key
        return key


def _usual(of_row: Sequence[str], members: Sequence[int]) -> str:
    if len(members) == 1:
        return of_row[members[0]]
    counts = Counter(of_row[index] for index in members)
    return min(counts, key=lambda stratum: (-counts[stratum], stratum))


def _rows(units: Sequence[Unit]) -> list[int]:
    return sorted(row for unit in units for row in unit.rows)


def _chance(seed: int, name: str, key: str) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.blake2b(f"{seed}\0{name}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
