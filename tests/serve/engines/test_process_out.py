"""Which pieces an engine's process writes together."""

from __future__ import annotations

import json
from io import BytesIO
from queue import SimpleQueue

import pytest

from luthier.serve.engines import process
from luthier.serve.engines.engine import Piece, Token


class Lines(BytesIO):
    def __init__(self) -> None:
        super().__init__()
        self.flushed: SimpleQueue[None] = SimpleQueue()

    def flush(self) -> None:
        self.flushed.put(None)

    @property
    def pieces(self) -> list[list[list[object]]]:
        return [json.loads(line)["pieces"] for line in self.getvalue().splitlines()]


def test_only_the_first_and_the_last_piece_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GATHER_SECONDS", 60.0)
    lines = Lines()
    out = process.Out(lines)
    out.piece("a", Piece((Token(1),)))
    lines.flushed.get(timeout=10)
    out.piece("a", Piece((Token(2),)))
    out.piece("a", Piece((Token(3), Token(4))))
    out.piece("b", Piece((Token(5),)))  # its first one
    lines.flushed.get(timeout=10)
    out.piece("b", Piece((Token(6),)))
    out.piece("a", Piece((Token(7),), "error", "why"))
    lines.flushed.get(timeout=10)
    assert lines.pieces == [
        [["a", [1], None, ""]],
        [["a", [2, 3, 4], None, ""], ["b", [5], None, ""]],
        [["b", [6], None, ""], ["a", [7], "error", "why"]],
    ]
    out.piece("b", Piece((Token(8),)))
    out.piece("b", Piece((), "length"))
    out.close()
    written = [piece for line in lines.pieces[3:] for piece in line]
    assert [tokens for _, tokens, _, _ in written] in ([[8]], [[8], []])
    assert written[-1][2] == "length"


def test_a_piece_that_waits_goes_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GATHER_SECONDS", 0.01)
    lines = Lines()
    out = process.Out(lines)
    for id in (1, 2):
        out.piece("a", Piece((Token(id),)))
        lines.flushed.get(timeout=10)
    assert lines.pieces == [[["a", [1], None, ""]], [["a", [2], None, ""]]]
