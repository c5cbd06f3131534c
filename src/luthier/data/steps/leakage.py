"""Drop, or refuse, rows whose input is also in a split that measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from luthier.data.example import Example
from luthier.data.steps.reject import Reject
from luthier.errors import DataError

STEP = "leakage"
HELD_OUT = ("test", "validation", "beside_test", "beside_validation")
GUARDED = (
    ("validation", ("test",)),
    ("beside_validation", ("beside_test",)),
    *((name, HELD_OUT) for name in ("train", "earlier", "beside")),
)
"""Which split loses a row, and to which: a test row always stays."""


def leakage(
    splits: Mapping[str, Sequence[Example]], action: Literal["drop", "error"]
) -> tuple[dict[str, list[Example]], list[Reject]]:
    """The splits without leaking rows, and those rows.

    Two rows leak if a model would be asked the same (`Example.input_id`), whatever the answers, and whether as a
    prompt or as a conversation of one turn. Raises `DataError` where `action` is `error` and there is one.
    """
    clean = {name: list(examples) for name, examples in splits.items()}
    rejects: list[Reject] = []
    for loser, keepers in GUARDED:
        for keeper in keepers:
            held = {asked(example): example.row_id for example in clean.get(keeper, ())}
            found = [(example, held.get(asked(example))) for example in clean.get(loser, ())] if held else []
            dropped = [(example, other) for example, other in found if other is not None]
            if dropped and action == "error":
                raise _refuse(dropped, loser, keeper)
            if dropped:
                clean[loser] = [example for example, other in found if other is None]
                rejects += [_reject(example, other, keeper) for example, other in dropped]
    return clean, rejects


def asked(example: Example) -> str:
    """What the leakage check compares: a conversation of one turn asks the same as a prompt or a text of its words."""
    turns = example.question() if example.messages is not None else []
    if len(turns) == 1 and turns[0].keys() == {"role", "content"} and turns[0]["role"] == "user":
        example = Example("", text=turns[0]["content"])
    return input_key(example)


def input_key(example: Example) -> str:
    """The input, or all of a conversation in which nobody asks."""
    if example.messages is not None and not any(turn["role"] in ("user", "tool") for turn in example.messages):
        return example.content_id
    return example.input_id


def _reject(example: Example, other: str, keeper: str) -> Reject:
    return Reject(example, STEP, f"same input as {other} in {keeper}", f"same input as a row of {keeper}")


def _refuse(dropped: list[tuple[Example, str]], loser: str, keeper: str) -> DataError:
    example, other = dropped[0]
    what = f"{len(dropped)} rows of {loser} ask what rows of {keeper} ask; this one asks the same as {other}"
    return DataError(what, example.row_id, "Remove them, or set `curate.leakage: drop`")
