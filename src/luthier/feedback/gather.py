"""Feedback → rows to learn from, for one task; what comes to nothing keeps its reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from luthier.data.prepared import Task
from luthier.errors import DataError
from luthier.feedback.answers import asked_text, ended
from luthier.feedback.pairs import Traces, pairs
from luthier.feedback.said import Gathered, Said, lost, most, newest, row_of
from luthier.feedback.settle import JUDGING, Settled, canonical, settle, unreadable

Learnt = Literal["generate", "preference", "classify"]
LEARNS: dict[Learnt, tuple[str, ...]] = {
    "generate": JUDGING, "preference": ("choice", *JUDGING), "classify": ("label",),
}  # fmt: skip
"""The kinds of feedback from which each task has rows."""
OTHER = {
    "rating": "a rating is of no use to this objective", "correction": "a correction is of no use to this objective",
    "choice": "a choice is learnt by `dpo` or `reward`", "label": "a label is learnt by `classify`",
}  # fmt: skip
RATED = "rated high, which is learnt only where that is asked for"
CUT = "rated high, but cut off before its end"
NO_OTHER = "rated high, which prefers it to no other answer"
REJECTED, PENDING = "rejected in review", "not reviewed yet"


def gather(
    said: Sequence[Said], task: Task, traces: Traces, *, accept_rated: bool = False, reviewed: bool = False
) -> Gathered:
    """Rows for `task`: corrected answers, preference pairs, or texts with labels.

    `accept_rated` makes rows of answers that are rated high as well; `reviewed` takes only feedback that a person has
    accepted. Each piece of feedback ends in `used` or in `left`. Raises DataError for a task that feedback says
    nothing of.
    """
    if task not in LEARNS:
        raise DataError(f"feedback has no rows for `{task}`", "", "It corrects answers, prefers them, or labels texts")
    gathered = Gathered()
    open_to = [one for one in said if not _reviewed_away(one, reviewed, gathered)]
    fitting = [one for one in open_to if one.row.kind in LEARNS[task]]
    for one in open_to:
        if one.row.kind not in LEARNS[task]:
            gathered.leave([one], OTHER[one.row.kind])
    if task == "classify":
        _labels(fitting, gathered)
        return gathered
    settled = settle([one for one in fitting if one.row.kind in JUDGING], gathered)
    if task == "generate":
        _answers(settled, accept_rated, gathered)
        return gathered
    for judged in settled:
        if not judged.corrected:
            gathered.leave(judged.said, NO_OTHER)
    pairs([one for one in fitting if one.row.kind == "choice"], [one for one in settled if one.corrected], traces,
          gathered)  # fmt: skip
    return gathered


def _reviewed_away(said: Said, reviewed: bool, gathered: Gathered) -> bool:
    if said.row.review == "rejected":
        gathered.leave([said], REJECTED)
        return True
    if reviewed and said.row.review is None:
        gathered.leave([said], PENDING)
        return True
    return False


def _answers(settled: Sequence[Settled], accept_rated: bool, gathered: Gathered) -> None:
    for one in settled:
        if not (one.corrected or accept_rated):
            gathered.leave(one.said, RATED)
            continue
        if not one.corrected and not all(ended(said.trace, said.row.value["index"]) for said in one.said):
            gathered.leave(one.said, CUT)
            continue
        name = f"#{one.index}" if one.index else ""
        row = row_of(one.said, name, messages=(*one.question, one.right), tools=one.tools)
        gathered.take(row, one.said)


def _labels(said: Sequence[Said], gathered: Gathered) -> None:
    """A row for each text whose label more voices give than any other."""
    texts: dict[str, list[Said]] = {}
    for one in said:
        try:
            texts.setdefault(asked_text(one.trace), []).append(one)
        except DataError as error:
            gathered.leave([one], unreadable(error))
    for text, group in texts.items():
        last = newest(group)
        best = most({voice: canonical(one.row.value) for voice, one in last.items()})
        winners = [one for one in group if canonical(one.row.value) == best]
        for one in group:
            if one not in winners:
                gathered.leave([one], lost(one, last, best is not None))
        if winners:
            value = winners[0].row.value
            labels = tuple(value["labels"]) if "labels" in value else None
            gathered.take(row_of(winners, "", text=text, label=value.get("label"), labels=labels), winners)
