"""Asking an engine for many answers at once, and waiting for all of them."""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from luthier.errors import ModelError
from luthier.serve.engines.engine import SURE, Ask, Engine, Piece, Token

Allowed = Callable[[list[int]], Sequence[int]]
"""Ids written so far → those that may come next; none but ids that end an answer where it is whole."""
Progress = Callable[[int, int], None]


def all_answers(
    engine: Engine, asks: Sequence[Ask], progress: Progress = lambda done, total: None
) -> list[list[Token]]:
    """The tokens of each answer. Raises ModelError where one cannot be given."""
    said: queue.SimpleQueue[tuple[int, Piece]] = queue.SimpleQueue()

    def told(number: int, piece: Piece) -> None:
        said.put((number, piece))

    for number, ask in enumerate(asks):
        engine.start(replace(ask, id=f"{id(said)}-{number}"), partial(told, number))
    answers: list[list[Token]] = [[] for _ in asks]
    done = 0
    while done < len(asks):
        number, piece = said.get()
        answers[number].extend(piece.tokens)
        if piece.finish == "error":
            raise ModelError(f"the engine gives no answer: {piece.error}")
        if piece.finish:
            done += 1
            progress(done, len(asks))
    return answers


def forced(
    engine: Engine, rows: Sequence[tuple[Sequence[int], Sequence[int]]], adapter: str | None = None,
    progress: Progress = lambda done, total: None,
) -> list[list[tuple[int, float]]]:  # fmt: skip
    """What the engine thinks of texts that are given: for each `(ids, places)`, and each of its places, the id that is
    likeliest there after the ids before it, and the log-probability of the id that stands there.

    A bias makes it write the very id, of which log-probabilities know nothing.
    """
    places = [(number, ids, place) for number, (ids, own) in enumerate(rows) for place in own]
    asks = [Ask("", list(ids[:place]), 1, adapter, temperature=0.0, top_logprobs=1, bias={int(ids[place]): SURE})
            for _, ids, place in places]  # fmt: skip
    found: list[list[tuple[int, float]]] = [[] for _ in rows]
    for (number, _, _), (token,) in zip(places, all_answers(engine, asks, progress), strict=True):
        assert token.logprob is not None
        found[number].append((token.top[0][0], token.logprob))
    return found


def restricted(
    engine: Engine, prompt: Sequence[int], allowed: Allowed, longest: int, stop_ids: Sequence[int],
    adapter: str | None = None,
) -> list[int]:  # fmt: skip
    """A greedy answer of which every token is one of those allowed, which are raised above all others."""
    written: list[int] = []
    while len(written) < longest:
        ids = list(allowed(written))
        if len(ids) > 1:
            ask = Ask("", [*prompt, *written], 1, adapter, temperature=0.0, bias=dict.fromkeys(ids, SURE))
            ids = [token.id for token in all_answers(engine, [ask])[0]]
        if ids[0] in stop_ids:
            break
        written.append(ids[0])
    return written
