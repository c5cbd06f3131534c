"""A process with an engine that repeats its prompt, for tests of what lies around engines: `python parrot.py`.

An ask's `seed` says how it behaves: None, one piece a token; 1, it says nothing until it is cancelled; 2, it ends the
process, unless the file that the specification calls `spared` exists; 3, it prints, and repeats its prompt.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.errors import ModelError
from luthier.serve.engines import process, table
from luthier.serve.engines.engine import Ask, OnPiece, Piece, Token


class Parrot:
    def __init__(self, spec: Mapping[str, Any]) -> None:
        if spec["base"] == "broken":
            raise ModelError("is broken", "parrot", "Buy another")
        if spec["base"] == "bug":
            raise RuntimeError("a bug of ours")
        if spec["base"] == "killed":
            os.write(2, b"farewell\n")
            os.kill(os.getpid(), 9)
        self.spared = Path(spec.get("spared", "/nowhere"))
        self.adapters = set(spec.get("adapters", ()))
        self.silent: dict[str, OnPiece] = {}
        self.cancelled = 0

    def start(self, ask: Ask, on_piece: OnPiece) -> None:
        if ask.seed == 1:
            self.silent[ask.id] = on_piece
        elif ask.seed == 2 and not self.spared.exists():
            if self.spared.parent.exists():
                self.spared.touch()
            on_piece(Piece((Token(ask.prompt[0]),))) if ask.top_p < 1 else None
            threading.Timer(0.1, os._exit, (9,)).start()
        else:
            print("stray text", flush=True)
            self.repeat(ask, on_piece)

    def repeat(self, ask: Ask, on_piece: OnPiece) -> None:
        if ask.adapter is not None and ask.adapter not in self.adapters:
            on_piece(Piece(finish="error", error=f"there is no adapter {ask.adapter!r}"))
            return
        for id in ask.prompt:
            on_piece(Piece((Token(id, -0.5, ((id, -0.5), (7, -1.5))) if ask.top_logprobs else Token(id),)))
        on_piece(Piece(finish="stop"))

    def cancel(self, id: str) -> None:
        self.cancelled += 1
        self.silent.pop(id)(Piece(finish="cancelled"))

    def embed(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        if rows == [[0]]:
            return [[float(self.cancelled)]]
        if not rows:
            raise ModelError("writes text")
        return [[float(len(row))] for row in rows]

    def load(self, name: str, adapter: Path) -> None:
        if name == "bad":
            raise ModelError("cannot be run", str(adapter))
        self.adapters.add(name)

    def close(self) -> None: ...


if __name__ == "__main__":
    table.ENGINES["parrot"] = Parrot  # type: ignore[assignment]
    process.main()
