"""Taking feedback in: read strictly, held against the answers it is of, stored whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.errors import DataError, NotFound
from luthier.feedback.answers import answer, asked_text
from luthier.feedback.parse import parse
from luthier.store import Home, feedback
from luthier.store.feedback import Answered, Feedback, New

MOST = 1000
"""Pieces of feedback that are taken at once."""


def receive(home: Home, items: Sequence[Any]) -> list[Feedback]:
    """Store what clients or people said. Raises DataError for what is wrong, with the key as its `where`; NotFound
    where an answer is not there; StoreError where an id is there with another content."""
    if not items or len(items) > MOST:
        raise DataError(f"there are {len(items)} pieces of feedback", "feedback", f"Give 1 to {MOST} at once")
    new = [_parsed(number, item, len(items)) for number, item in enumerate(items)]
    traces = feedback.answers(home, (trace_id for one in new for trace_id in (one.trace_id, *_others(one))))
    for one in new:
        _check(one, traces)
    return feedback.add(home, new)


def _parsed(number: int, item: Any, count: int) -> New:
    try:
        return parse(item)
    except DataError as error:
        where = error.where if count == 1 else f"feedback.{number}.{error.where}".rstrip(".")
        raise DataError(error.what, where, error.mend) from None


def _others(new: New) -> list[str]:
    """The other traces that a choice names."""
    if new.kind != "choice":
        return []
    return [one["trace_id"] for one in (new.value["chosen"], *new.value["rejected"]) if "trace_id" in one]


def _check(new: New, traces: Mapping[str, Answered]) -> None:
    for trace_id in (new.trace_id, *_others(new)):
        if trace_id not in traces:
            mend = "Give the `id` of a completion whose trace is kept"
            raise NotFound(f"no answer has the id {trace_id!r}", "trace_id", mend)
    own = traces[new.trace_id]
    if "index" in new.value:
        answer(own, new.value["index"])
    elif new.kind == "choice":
        for one in (new.value["chosen"], *new.value["rejected"]):
            if "index" in one:
                answer(traces[one.get("trace_id", own.id)], one["index"])
    else:
        asked_text(own)
