"""An answer that llama.cpp writes: what is wished next of it, and what becomes of the tokens that come."""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from collections.abc import Sequence

import numpy as np

from luthier.serve.engines.engine import SURE, Ask, Finish, OnPiece, Piece, Token
from luthier.serve.engines.grammar import Matcher
from luthier.serve.engines.llama_server import Wish

SEEDED_TOKENS = 32
"""Of a part of an answer that must come out the same again: the parts begin at the same places each time."""
RANDOM_SEEDS = 2**32 - 1
"""llama.cpp takes seeds below this one."""


class Answer:
    """Writes at most `longest` tokens of a vocabulary of `size`."""

    def __init__(self, ask: Ask, on_piece: OnPiece, longest: int, size: int) -> None:
        self.ask, self.on_piece, self.longest, self.size = ask, on_piece, longest, size
        self.seed = secrets.randbits(63) if ask.seed is None else ask.seed
        self.matcher: Matcher | None = None
        self.written: list[int] = []
        self.cancelled = self.ended = False

    @property
    def left(self) -> int:
        """Tokens that it may still write."""
        return self.longest - len(self.written)

    @property
    def single(self) -> bool:
        """Whether it is written token by token: each depends on those before in a way that llama.cpp does not know."""
        ask = self.ask
        return bool(self.matcher or ask.presence or ask.frequency) or ask.top_logprobs is not None

    @property
    def seeded(self) -> bool:
        """Whether it must come out the same again, though it is drawn."""
        return self.ask.seed is not None and self.ask.temperature > 0

    def wish(self, slot: int, adapter: int | None, keep: bool) -> Wish:
        """What comes next: all that is left, a part of it, or one token."""
        ask = self.ask
        count = 1 if self.single else min(SEEDED_TOKENS, self.left) if self.seeded else self.left
        return Wish(slot, [*ask.prompt, *self.written], count, adapter, keep, ask.temperature, ask.top_p,
                    self._seed(), self._bias(), ask.top_logprobs)  # fmt: skip

    def take(self, tokens: Sequence[Token]) -> None:
        """Write them as far as the answer goes."""
        taken: list[Token] = []
        finish: Finish | None = None
        for token in tokens:
            if token.id in self.ask.stop_ids:
                finish = "stop"
                break
            taken.append(token)
            self.written.append(token.id)
            if self.matcher is not None and self.matcher.take(token.id):
                finish = "stop"
        if finish is None and self.left <= 0:
            finish = "length"
        self._say(Piece(tuple(taken), finish))

    def end(self, finish: Finish, error: str = "") -> None:
        """Say the last piece, which has no token, unless it was said."""
        if not self.ended:
            self._say(Piece(finish=finish, error=error))

    def _say(self, piece: Piece) -> None:
        self.ended = piece.finish is not None
        self.on_piece(piece)

    def _seed(self) -> int:
        """Of what is wished now: it is the answer's own and goes on from place to place."""
        digest = hashlib.sha256(f"{self.seed} {len(self.written)}".encode()).digest()
        return int.from_bytes(digest[:8], "little") % RANDOM_SEEDS

    def _bias(self) -> dict[int, float | bool]:
        """What is added to logits, by id; False bars one."""
        ask = self.ask
        found: dict[int, float | bool] = {id: value for id, value in ask.bias.items() if 0 <= id < self.size}
        if ask.presence or ask.frequency:
            for id, count in Counter(self.written).items():
                found[id] = found.get(id, 0.0) - ask.presence - ask.frequency * count
        return found if self.matcher is None else self._barred(found, self.matcher.allowed())

    def _barred(self, bias: dict[int, float | bool], allowed_V: np.ndarray) -> dict[int, float | bool]:
        """The bias with all but the allowed ids barred, or those raised above all others: whichever is shorter."""
        if 2 * allowed_V.sum() > self.size:
            return bias | dict.fromkeys(np.flatnonzero(~allowed_V).tolist(), False)
        return {id: bias.get(id, 0.0) + SURE for id in np.flatnonzero(allowed_V).tolist()}
