"""What `prepare` returns: the splits, and everything that happened on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from luthier.data.example import Example
from luthier.data.sources import Source
from luthier.data.steps.reject import Reject

Task = Literal["generate", "classify", "text", "preference", "verdict"]


@dataclass(frozen=True)
class StepCount:
    """Rows in and out of a step over all splits, how many it dropped for which kind of reason, and how many changed."""

    name: str
    rows_in: int
    rows_out: int
    dropped: dict[str, int]
    changed: int = 0

    @classmethod
    def of(cls, name: str, rows_in: int, rejects: Sequence[Reject], changed: int = 0) -> StepCount:
        return cls(name, rows_in, rows_in - len(rejects), dict(Counter(reject.kind for reject in rejects)), changed)


@dataclass(frozen=True)
class Prepared:
    """Data ready to be rendered. `splits` has the keys train, validation and test, some perhaps empty.

    `task` is that of the first objective. `labels` are sorted, over all splits: those of the second objective where
    it learns labels. `notes` are sentences for the user, such as how a split was cut.
    """

    splits: dict[str, list[Example]]
    rejects: list[Reject]
    sources: list[Source]
    steps: list[StepCount]
    notes: list[str]
    task: Task
    labels: tuple[str, ...]
    multi_label: bool
