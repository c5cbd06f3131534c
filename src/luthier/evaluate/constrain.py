"""Decoding that can only give an answer of a closed set: which token ids may come next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TypeAlias

from luthier.errors import DataError
from luthier.evaluate.answer_space import AnswerSpace

Encode = Callable[[str], list[int]]
Node: TypeAlias = "dict[int, Node]"
END = -1
"""The key of a node at which an answer, or a part of one, is complete."""
MAX_ANSWERS = 20_000
"""Up to here one trie holds every answer; beyond, one trie per field."""


class AllowedTokens:
    """The token ids that keep an answer within a closed set.

    `encode` turns text into ids without special tokens, as the answer stands after the prompt; `eos_ids` end an
    answer. Raises DataError where a JSON answer cannot be cut into its fields between two tokens.
    """

    def __init__(self, space: AnswerSpace, encode: Encode, eos_ids: Sequence[int]) -> None:
        if space.kind is None:
            what = f"answers cannot be restricted: {space.reason}"
            raise DataError(what, "evaluate.constrain", "Set it to none")
        parts = [list(space.answers())] if space.size <= MAX_ANSWERS else _by_field(space, encode)
        self._tries = [_trie(map(encode, texts)) for texts in parts]
        self._eos_ids = list(eos_ids)

    def allowed(self, generated: Sequence[int]) -> list[int]:
        """The ids that may follow `generated`, sorted; the ids that end the answer are among them where it is whole.

        Raises ValueError where `generated` itself is not the beginning of an answer.
        """
        places = self._enter([(0, self._tries[0])])
        for token in generated:
            places = self._enter([(part, node[token]) for part, node in places if token in node])
        if not places:
            raise ValueError(f"no answer begins with the token ids {list(generated)}")
        following = {token for _, node in places for token in node if token != END}
        if any(END in node and part == len(self._tries) - 1 for part, node in places):
            following.update(self._eos_ids)
        return sorted(following)

    def _enter(self, places: list[tuple[int, Node]]) -> list[tuple[int, Node]]:
        """The places, and where a part is complete, the beginning of the next."""
        done = [part + 1 for part, node in places if END in node and part + 1 < len(self._tries)]
        return places + [(part, self._tries[part]) for part in done]


def _trie(sequences: Iterable[Sequence[int]]) -> Node:
    root: Node = {}
    for ids in sequences:
        node = root
        for token in ids:
            node = node.setdefault(token, {})
        node[END] = {}
    return root


def _by_field(space: AnswerSpace, encode: Encode) -> list[list[str]]:
    """For each field the texts that its part of the answer can be; parts meet where two tokens meet."""
    edges = [*_cuts(space, encode), len(space.literals[-1])]
    parts = []
    for index, (values, (left, right)) in enumerate(zip(space.fields.values(), pairwise(edges), strict=True)):
        before, after = space.literals[index][left:], space.literals[index + 1][:right]
        parts.append([before + value + after for value in values])
    return parts


def _cuts(space: AnswerSpace, encode: Encode) -> list[int]:
    """Where in each literal but the last a part begins, so that the parts' ids are together those of the whole."""
    rows = _every_value(space)
    rests = [space.compose(values) for values in rows]
    cuts = [0]
    for index, literal in enumerate(space.literals[1:-1]):
        starts = [len(space.literals[index]) - cuts[-1] + len(values[index]) for values in rows]
        cuts.append(_cut(literal, rests, starts, encode))
        rests = [rest[start + cuts[-1] :] for rest, start in zip(rests, starts, strict=True)]
    return cuts


def _every_value(space: AnswerSpace) -> list[list[str]]:
    """Rows of values, one per field, in which every value of every field occurs."""
    columns = list(space.fields.values())
    return [[column[i % len(column)] for column in columns] for i in range(max(map(len, columns)))]


def _cut(literal: str, texts: list[str], starts: list[int], encode: Encode) -> int:
    """An offset in the literal, which begins at `starts`, at which no text has a token that crosses it."""
    for offset in range(1, len(literal)):
        places = [(text, start + offset) for text, start in zip(texts, starts, strict=True)]
        if all(encode(text[:cut]) + encode(text[cut:]) == encode(text) for text, cut in places):
            return offset
    raise DataError(
        f"the tokenizer joins {literal!r} with the values around it",
        "evaluate.constrain",
        "Set it to none, or write the training answers with a space after commas and colons",
    )
