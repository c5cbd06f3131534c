"""Rows as all sides are given them: token ids and which of them count. Needs no more than numpy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np


@dataclass(frozen=True)
class Row:
    """A row of data: as it stands in its file, its token ids, and 1 where a token's prediction counts.

    Of a pair, `rejected` is the other answer's row and this the chosen one's.
    """

    raw: dict[str, Any]
    ids: list[int]
    mask: list[int]
    rejected: Row | None = None

    def alone(self) -> list[Row]:
        """The rows that a side without shared beginnings works on: itself, and of a pair the other one."""
        return [self] if self.rejected is None else [self, self.rejected]

    def job(self) -> dict[str, Any]:
        """What a side's process is handed."""
        return {"ids": self.ids, "mask": self.mask}


def first_predicted(row: Row) -> int:
    """Where the first token that counts stands."""
    return row.mask.index(1) if 1 in row.mask else len(row.mask)


R = TypeVar("R", bound=Row)


def stratified(rows: Sequence[R], count: int) -> list[R]:
    """`count` of the rows with the same distribution of lengths: the middle one of each of so many equal strata."""
    order = sorted(range(len(rows)), key=lambda i: (sum(len(row.ids) for row in rows[i].alone()), i))
    chosen = sorted(order[int((k + 0.5) * len(rows) / count)] for k in range(count))
    return [rows[i] for i in chosen]


def digest(rows: Iterable[tuple[Any, Any]]) -> str:
    """Names a set of rows (token ids, mask) in any order: equal where each was seen as often, token by token.

    What follows the last token that counts teaches nothing, and does not matter.
    """
    own = []
    for ids, mask in rows:
        counts = np.asarray(mask, np.uint8)
        end = int(counts.nonzero()[0][-1]) + 1 if counts.any() else None
        whole = np.asarray(ids, np.int64)[:end].tobytes() + b"|" + counts[:end].tobytes()
        own.append(hashlib.sha256(whole).hexdigest())
    return hashlib.sha256("".join(sorted(own)).encode()).hexdigest()
