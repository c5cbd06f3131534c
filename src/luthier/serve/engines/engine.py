"""The seam between what asks for tokens and what writes them.

An engine holds one base model once, and LoRA adapters on it by name. It speaks token ids: text, chat templates and stop
strings belong to whoever asks, so that the prompt of a request is made by the code that made the training rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

Finish = Literal["stop", "length", "cancelled", "error"]
SURE = 1e6
"""A bias that decides."""


@dataclass(frozen=True)
class Ask:
    """One answer that is wanted.

    `temperature` 0 is greedy. With `seed`, the same ask has the same answer on the same engine, whatever else it
    writes meanwhile. `stop_ids` end the answer and are not part of it. `top_logprobs`: how many alternatives of each
    token are wanted beside its own log-probability; None for neither. Log-probabilities are those of the model, before
    temperature, penalties, `top_p`, bias and schema. `bias` is added to logits by token id. The penalties are OpenAI's:
    `frequency` for each time, `presence` once, of the tokens that were written. `schema` is a JSON schema that the
    text must satisfy; `{}` allows any JSON value.
    """

    id: str
    prompt: Sequence[int]
    max_new_tokens: int
    adapter: str | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop_ids: tuple[int, ...] = ()
    top_logprobs: int | None = None
    bias: Mapping[int, float] = field(default_factory=dict)
    presence: float = 0.0
    frequency: float = 0.0
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Token:
    """A token that was written, and, where they were asked for, its log-probability and the likeliest ones."""

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Piece:
    """Some more of an answer. The last one has `finish`; where that is `error`, `error` says why in a sentence."""

    tokens: tuple[Token, ...] = ()
    finish: Finish | None = None
    error: str = ""

    def and_then(self, more: Piece) -> Piece:
        """Both as one."""
        return Piece(self.tokens + more.tokens, more.finish, more.error)


OnPiece = Callable[[Piece], None]


class Engine(Protocol):
    """Writes answers, several at once. All methods may be called from any thread."""

    def start(self, ask: Ask, on_piece: OnPiece) -> None:
        """Begin an answer and return at once; `on_piece` is called in order, on a thread of the engine's.

        What cannot be answered (an unknown adapter, a prompt beyond the context, a schema that cannot be followed) is
        a piece with `finish="error"`. The last piece comes exactly once, also after `cancel` and `close`.
        """

    def cancel(self, id: str) -> None:
        """End the answer `id` early, with `finish="cancelled"`; nothing happens where it has ended already."""

    def embed(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """One vector of length 1 a row of token ids. Raises ModelError where the model writes text."""

    def load(self, name: str, adapter: Path) -> None:
        """Hold the LoRA adapter in this folder under `name`. The same name and folder again changes nothing.

        Raises ModelError where the engine cannot run it.
        """

    def close(self) -> None:
        """End all answers and give the memory back."""
