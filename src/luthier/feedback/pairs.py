"""Which of two answers is better: choices, and corrections before what they correct, as preference pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from luthier.data.example import Message
from luthier.errors import DataError
from luthier.feedback.answers import Tools, answer, question
from luthier.feedback.said import Gathered, Said, lost, most, newest, row_of
from luthier.feedback.settle import Settled, canonical, unreadable
from luthier.store.feedback import Answered

OTHER_QUESTION = "the answers are to different questions"
SAME = "the answers say the same"
GONE = "the trace of another answer was purged"
Traces = dict[str, Answered]


class Vote(NamedTuple):
    """A voice for one answer and against another."""

    said: Said
    question: tuple[Message, ...]
    tools: Tools
    chosen: Message
    rejected: Message


def pairs(choices: Sequence[Said], settled: Sequence[Settled], traces: Traces, gathered: Gathered) -> None:
    """Add a row for each two answers of which more voices prefer one than the other. `traces` holds those that choices
    name beside their own."""
    votes = [vote for one in choices for vote in _votes(one, traces, gathered)]
    votes += [Vote(s, one.question, one.tools, one.right, one.answer) for one in settled for s in one.said]
    groups: dict[str, list[Vote]] = {}
    for vote in votes:
        both = sorted([canonical(vote.chosen), canonical(vote.rejected)])
        groups.setdefault(canonical([vote.question, vote.tools, both]), []).append(vote)
    why: dict[str, tuple[Said, str]] = {}
    for group in groups.values():
        _decide(group, gathered, why)
    used = {said.row.id for row in gathered.used.values() for said in row}
    for feedback_id, (said, reason) in why.items():
        if feedback_id not in used:
            gathered.leave([said], reason)


def _decide(group: list[Vote], gathered: Gathered, why: dict[str, tuple[Said, str]]) -> None:
    last = newest(vote.said for vote in group)
    best = most({v.said.voice: canonical(v.chosen) for v in group if last[v.said.voice] == v.said})
    winners = [vote for vote in group if canonical(vote.chosen) == best]
    losers = [vote.said for vote in group if vote not in winners]
    why.update({said.row.id: (said, lost(said, last, best is not None)) for said in losers})
    if winners:
        first, said = winners[0], [vote.said for vote in winners]
        content: dict[str, Any] = {"messages": first.question, "chosen": (first.chosen,), "rejected": (first.rejected,)}
        digest = hashlib.sha256(canonical([first.chosen, first.rejected]).encode()).hexdigest()[:6]
        gathered.take(row_of(said, f"#{digest}", tools=first.tools, **content), said)


def _votes(said: Said, traces: Traces, gathered: Gathered) -> list[Vote]:
    """What a choice says of each answer that was not chosen."""
    try:
        messages, tools = question(said.trace)
        chosen, *rejected = (
            _message(said, one, traces) for one in (said.row.value["chosen"], *said.row.value["rejected"])
        )
    except DataError as error:
        gathered.leave([said], error.what if error.what in (OTHER_QUESTION, GONE) else unreadable(error))
        return []
    found = [Vote(said, messages, tools, chosen, one) for one in rejected if canonical(one) != canonical(chosen)]
    if not found:
        gathered.leave([said], SAME)
    return found


def _message(said: Said, named: dict[str, Any], traces: Traces) -> Message:
    if "text" in named:
        return {"role": "assistant", "content": named["text"]}
    trace = said.trace if "trace_id" not in named else traces.get(named["trace_id"])
    if trace is None:
        raise DataError(GONE)
    if canonical(question(trace)) != canonical(question(said.trace)):
        raise DataError(OTHER_QUESTION)
    return answer(trace, named["index"])
