"""What was said of an answer, beside that answer, and whose voice it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from luthier.data.example import Example
from luthier.store.feedback import Answered, Feedback

Key = TypeVar("Key")


class Said(NamedTuple):
    """A piece of feedback and the answer it is of."""

    row: Feedback
    trace: Answered

    @property
    def voice(self) -> str:
        """Who speaks: the rater. Where none is named, each piece of feedback is somebody else's."""
        return f"rater {self.row.rater}" if self.row.rater is not None else f"feedback {self.row.id}"


class Left(NamedTuple):
    """A piece of feedback that nothing is learnt from, and why."""

    said: Said
    reason: str


@dataclass
class Gathered:
    """Rows to learn from, the feedback that each rests on, and the feedback that was left out."""

    rows: list[Example] = field(default_factory=list)
    used: dict[str, list[Said]] = field(default_factory=dict)
    """By row id."""
    left: list[Left] = field(default_factory=list)

    def take(self, row: Example, said: list[Said]) -> None:
        """Add a row."""
        self.rows.append(row)
        self.used[row.row_id] = said

    def leave(self, said: Iterable[Said], reason: str) -> None:
        """Leave feedback out."""
        self.left += [Left(one, reason) for one in said]


def newest(said: Iterable[Said]) -> dict[str, Said]:
    """Voice → the last that it said."""
    return {one.voice: one for one in sorted(said, key=lambda one: (one.row.created_at, one.row.id))}


def most(votes: Mapping[str, Key]) -> Key | None:
    """What more voices are for than for anything else; None where there is no such thing. `votes`: voice → what."""
    counts: dict[Key, int] = {}
    for what in votes.values():
        counts[what] = counts.get(what, 0) + 1
    best = [what for what, count in counts.items() if count == max(counts.values())]
    return best[0] if len(best) == 1 else None


SOURCE = "feedback"
"""The source of rows that are made of feedback."""


def row_of(said: list[Said], name: str, **content: Any) -> Example:
    """An example with where it came from: the traces, who answered, and who said what when."""
    first = min(said, key=lambda one: one.trace.created_at).trace
    ratings = tuple(
        {"feedback": one.row.id, "kind": one.row.kind, "rater": one.row.rater, "at": one.row.created_at}
        for one in said
    )  # fmt: skip
    origin = {"traces": sorted({one.trace.id for one in said}), "served": sorted({one.trace.served for one in said})}
    return Example(
        f"feedback:{first.id}{name}", source=SOURCE, ratings=ratings, extra=origin,
        time=max(one.row.created_at for one in said), **content,
    )  # fmt: skip


def lost(said: Said, last: Mapping[str, Said], decided: bool) -> str:
    """Why a piece of feedback did not win, where the others were heard as in `last`."""
    if last[said.voice] != said:
        return CHANGED
    return OUTVOTED if decided else DISAGREE


DISAGREE = "as many raters say otherwise"
OUTVOTED = "more raters say otherwise"
CHANGED = "the same rater said otherwise later"
