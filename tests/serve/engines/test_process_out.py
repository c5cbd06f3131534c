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
    def ids(self) -> list[list[str]]:
        return [[piece[0] for piece in json.loads(line)["pieces"]] for line in self.getvalue().splitlines()]


def test_only_the_first_and_the_last_piece_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GATHER_SECONDS", 60.0)
    lines, more = Lines(), Piece((Token(1),))
    out = process.Out(lines)
    out.piece("a", more)
    lines.flushed.get(timeout=10)
    out.piece("a", more)
    out.piece("a", more)
    out.piece("b", more)  # its first one
    lines.flushed.get(timeout=10)
    out.piece("b", more)
    out.piece("a", Piece(finish="stop"))
    lines.flushed.get(timeout=10)
    assert lines.ids == [["a"], ["a", "a", "b"], ["b", "a"]]
    out.piece("b", more)
    out.close()
    assert lines.ids[-1] == ["b"]
