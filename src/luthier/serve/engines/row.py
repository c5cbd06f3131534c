"""An answer under way: what was asked, what is written of it, and what decides about its next token."""

from __future__ import annotations

import secrets
from collections import Counter

import numpy as np
import torch

from luthier.data import forest
from luthier.serve.engines.engine import Ask, Finish, OnPiece, Piece, Token
from luthier.serve.engines.grammar import Matcher


class Row:
    """Writes at most `limit` tokens. Its random numbers are its own: who it is decoded with changes none of them."""

    def __init__(self, ask: Ask, on_piece: OnPiece, limit: int, matcher: Matcher | None = None) -> None:
        self.ask, self.on_piece, self.limit, self.matcher = ask, on_piece, limit, matcher
        self.written: list[int] = []
        self.counts: Counter[int] = Counter()
        self.ended = False
        self._draw = torch.Generator()
        self._draw.manual_seed(secrets.randbits(63) if ask.seed is None else ask.seed % 2**63)

    @property
    def length(self) -> int:
        """Tokens of the prompt and the answer so far."""
        return len(self.ask.prompt) + len(self.written)

    @property
    def left(self) -> int:
        """Tokens that it may still write."""
        return self.limit - len(self.written)

    def packed(self, number: int) -> forest.Row:
        """The prompt and the answer so far, as packs take rows."""
        ids = np.array([*self.ask.prompt, *self.written], dtype=np.int64)
        return forest.Row(ids, np.zeros(len(ids)), number, self.ask.adapter)

    def uniform(self) -> float:
        """Its next random number, in [0, 1)."""
        return float(torch.rand((), generator=self._draw, dtype=torch.float64))

    def take(self, token: Token) -> None:
        """Write one more token, or end with it."""
        if token.id in self.ask.stop_ids:
            self.end("stop")
            return
        self.written.append(token.id)
        self.counts[token.id] += 1
        complete = self.matcher is not None and self.matcher.take(token.id)
        self._say(Piece((token,), "stop" if complete else None if self.left else "length"))

    def end(self, finish: Finish, error: str = "") -> None:
        """Say the last piece, which has no token."""
        self._say(Piece(finish=finish, error=error))

    def _say(self, piece: Piece) -> None:
        self.ended = piece.finish is not None
        self.on_piece(piece)
