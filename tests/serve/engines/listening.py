"""What is said by an engine that is asked, gathered by answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from luthier.serve.engines.engine import Ask, Engine, Finish, Piece, Token

PATIENCE_SECONDS = 60


class Heard:
    """The pieces of one answer; `then` is called with each as it comes."""

    def __init__(self, then: Callable[[Piece], None] = lambda piece: None) -> None:
        self.pieces: list[Piece] = []
        self.then, self._done = then, threading.Event()

    def __call__(self, piece: Piece) -> None:
        self.pieces.append(piece)
        self.then(piece)
        if piece.finish is not None:
            self._done.set()

    def wait(self) -> Heard:
        """Until the last piece."""
        assert self._done.wait(PATIENCE_SECONDS), "the answer does not end"
        return self

    @property
    def tokens(self) -> list[Token]:
        return [token for piece in self.pieces for token in piece.tokens]

    @property
    def ids(self) -> list[int]:
        return [token.id for token in self.tokens]

    @property
    def finish(self) -> Finish | None:
        return self.pieces[-1].finish


def hear(engine: Engine, asks: Sequence[Ask]) -> list[Heard]:
    """The answers to asks that are made at once; they are given ids of their own."""
    heard = [Heard() for _ in asks]
    for number, (ask, on_piece) in enumerate(zip(asks, heard, strict=True)):
        engine.start(replace(ask, id=f"{id(heard)}-{number}"), on_piece)
    return [one.wait() for one in heard]
