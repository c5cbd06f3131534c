"""What all who judged an answer come to: that it is right, what is right instead, or nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.data.example import Message
from luthier.errors import DataError
from luthier.feedback.answers import Tools, answer, question
from luthier.feedback.said import CHANGED, DISAGREE, OUTVOTED, Gathered, Said, lost, most, newest

NEUTRAL = "a rating of 3 says neither"
NOT_CORRECTED = "rated low, and nobody says what is right"
DIFFERENT = "raters correct it differently"
JUDGING = ("rating", "correction")


@dataclass(frozen=True)
class Settled:
    """An answer, and the message that is right: itself, or a correction. `said` is what that rests on."""

    index: int
    question: tuple[Message, ...]
    tools: Tools
    answer: Message
    right: Message
    said: list[Said]

    @property
    def corrected(self) -> bool:
        return canonical(self.answer) != canonical(self.right)


def settle(said: Sequence[Said], gathered: Gathered) -> list[Settled]:
    """Of each answer that was rated or corrected, what is right; feedback that comes to nothing goes to `gathered`.

    The same answer to the same question counts as one, in however many traces it stands. A voice is for an answer
    (rated up, 4 or 5) or against it (rated down, 1 or 2, or corrected), as it spoke last. The larger side wins; of
    several corrections, the one that most voices give.
    """
    groups: dict[str, list[Said]] = {}
    asked: dict[str, tuple[tuple[Message, ...], Tools, Message]] = {}
    for one in said:
        try:
            messages, tools = question(one.trace)
            judged = answer(one.trace, one.row.value["index"])
        except DataError as error:
            gathered.leave([one], unreadable(error))
            continue
        key = canonical([messages, tools, judged])
        groups.setdefault(key, []).append(one)
        asked[key] = messages, tools, judged
    found = [_settled(group, *asked[key], gathered) for key, group in groups.items()]
    return [one for one in found if one is not None]


def _settled(
    said: list[Said], asked: tuple[Message, ...], tools: Tools, judged: Message, gathered: Gathered
) -> Settled | None:
    gathered.leave((one for one in said if not side(one)), NEUTRAL)
    speaking = [one for one in said if side(one)]
    last = {voice: side(one) for voice, one in newest(speaking).items()}
    gathered.leave((one for one in speaking if side(one) != last[one.voice]), CHANGED)
    standing = [one for one in speaking if side(one) == last[one.voice]]
    for_it, against = (sum(way == sign for way in last.values()) for sign in (1, -1))
    if for_it == against:
        gathered.leave(standing, DISAGREE)
        return None
    winners = [one for one in standing if (side(one) > 0) == (for_it > against)]
    gathered.leave((one for one in standing if one not in winners), OUTVOTED)
    right, rest = (judged, winners) if for_it > against else _correction(winners, gathered)
    if right is None:
        return None
    return Settled(rest[0].row.value["index"], asked, tools, judged, right, rest)


def _correction(said: list[Said], gathered: Gathered) -> tuple[Message | None, list[Said]]:
    """What most voices put in the place of an answer, with all that speaks for it."""
    corrections = newest(one for one in said if one.row.kind == "correction")
    if not corrections:
        gathered.leave(said, NOT_CORRECTED)
        return None, []
    texts = {voice: canonical(one.row.value["message"]) for voice, one in corrections.items()}
    best = most(texts)
    if best is None:
        gathered.leave(said, DIFFERENT)
        return None, []
    losers = [one for one in said if one.row.kind == "correction" and canonical(one.row.value["message"]) != best]
    for one in losers:
        gathered.leave([one], lost(one, corrections, True))
    kept = [one for one in said if one not in losers]
    message = next(one.row.value["message"] for one in kept if one.row.kind == "correction")
    return message, kept


def side(said: Said) -> int:
    """1 for the answer, -1 against it, 0 for neither."""
    if said.row.kind == "correction":
        return -1
    rating = said.row.value["rating"]
    return {"up": 1, "down": -1}.get(rating) or (rating > 3) - (rating < 3)


def canonical(value: object) -> str:
    """Equal for what says the same, whatever the order of its keys and the space around its text."""
    return json.dumps(_stripped(value), sort_keys=True, ensure_ascii=False)


def _stripped(value: object) -> object:
    if isinstance(value, dict):
        return {key: _stripped(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_stripped(item) for item in value]
    return value.strip() if isinstance(value, str) else value


def unreadable(error: DataError) -> str:
    """The reason for feedback on a request that cannot be learnt from."""
    return f"its request cannot be learnt from: {error.what}"
