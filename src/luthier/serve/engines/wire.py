"""What passes between an engine's process and the one that asks it, as lines of JSON.

To the engine: `{"start": ask}`, `{"cancel": id}`, `{"embed": rows, "id": id}` and `{"load": name, "folder": path,
"id": id}`. From it: `{"ready": true}` once, or `{"error": …}` where the engine cannot be opened; then `{"pieces":
[[id, tokens, finish, error], …]}` with all that is new, `{"done": id, "value": …}` or `{"done": id, "error": …}` for
`embed` and `load`, and `{"refused": why}` for a line that says nothing. A token is its id, or `[id, logprob, [[id,
logprob], …]]`.
"""

from __future__ import annotations

import json
from typing import Any

import luthier.errors as errors
from luthier.errors import LuthierError
from luthier.serve.engines.engine import Ask, Piece, Token


def line(document: Any) -> bytes:
    """One line of JSON."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def ask_out(ask: Ask) -> dict[str, Any]:
    """An ask as JSON has it."""
    return vars(ask) | {"prompt": list(ask.prompt), "bias": list(ask.bias.items())}


def ask_in(document: dict[str, Any]) -> Ask:
    """The ask that `ask_out` wrote. Raises TypeError for a key that asks do not have."""
    stop_ids = tuple(document.get("stop_ids", ()))
    return Ask(**(document | {"stop_ids": stop_ids, "bias": {int(id): by for id, by in document.get("bias", ())}}))


def piece_out(id: str, piece: Piece) -> list[Any]:
    """A piece of the answer `id` as JSON has it."""
    tokens = [token.id if token.logprob is None else [token.id, token.logprob, token.top] for token in piece.tokens]
    return [id, tokens, piece.finish, piece.error]


def piece_in(tokens: list[Any], finish: Any, error: str) -> Piece:
    """The piece that `piece_out` wrote."""
    return Piece(tuple(map(_token, tokens)), finish, error)


def _token(written: Any) -> Token:
    if isinstance(written, int):
        return Token(written)
    id, logprob, top = written
    return Token(id, logprob, tuple((other, value) for other, value in top))


def error_out(error: LuthierError) -> dict[str, str]:
    """An error by its class and its three parts."""
    return {"type": type(error).__name__, "what": error.what, "where": error.where, "mend": error.mend}


def error_in(part: dict[str, str]) -> LuthierError:
    """The error that `error_out` wrote."""
    return getattr(errors, part["type"])(part["what"], part["where"], part["mend"])
