"""An engine in a process of its own: `python -m luthier.serve.engines.process`.

The first line of stdin is its specification, each further one a wish (`wire` says which); answers go to stdout, and
nothing else does, whatever a library prints. It ends when its stdin ends, which happens when the process that started
it dies. Exit codes are those of errors; what an error says goes to stdout.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, NoReturn

from luthier.errors import LuthierError
from luthier.serve.engines import wire
from luthier.serve.engines.engine import Engine, Piece
from luthier.serve.engines.table import open_engine

GATHER_SECONDS = 0.1
"""How long a piece waits for others: each line costs time that is computing time. Nobody reads faster."""


def main() -> NoReturn:
    """Open the engine, and do what stdin wishes until it ends."""
    try:
        code = _main()
    except Exception:
        traceback.print_exc()
        code = 1
    os._exit(code)  # at a usual end, Python would wait for the lock of the stream that a thread reads from


def _main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the one that started this one decides
    out, lines = Out(_own_stdout()), _lines(sys.stdin.buffer)
    try:
        engine = open_engine(json.loads(next(lines)))
    except LuthierError as error:
        out.say({"error": wire.error_out(error)})
        out.close()
        return error.exit_code
    out.say({"ready": True})
    serve(engine, lines, out)
    return 0


def _own_stdout() -> BinaryIO:
    """Where stdout led; from now on, what is printed goes to stderr."""
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return stream


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """The lines of stdin, read by a thread that ends the process with them, whatever it is at."""
    waiting: SimpleQueue[bytes] = SimpleQueue()

    def read() -> None:
        for line in stream:
            waiting.put(line)
        os._exit(0)

    threading.Thread(target=read, name="stdin", daemon=True).start()
    while True:
        yield waiting.get()


def serve(engine: Engine, lines: Iterator[bytes], out: Out) -> None:
    """Do what each line wishes; what takes long runs beside the answers."""
    with ThreadPoolExecutor(8, "wish") as pool:
        for line in lines:
            try:
                _do(engine, json.loads(line), out, pool)
            except Exception as error:
                out.say({"refused": f"{type(error).__name__}: {error}"})


def _do(engine: Engine, wish: dict[str, Any], out: Out, pool: ThreadPoolExecutor) -> None:
    match wish:
        case {"start": {"id": str(id)}}:
            try:
                engine.start(wire.ask_in(wish["start"]), partial(out.piece, id))
            except Exception as error:
                out.piece(id, Piece(finish="error", error=f"{type(error).__name__}: {error}"))
        case {"cancel": str(id)}:
            engine.cancel(id)
        case {"embed": list(rows), "id": str(id)}:
            pool.submit(_answer, partial(engine.embed, rows), id, out)
        case {"load": str(name), "folder": str(folder), "id": str(id)}:
            pool.submit(_answer, partial(engine.load, name, Path(folder)), id, out)
        case _:
            raise ValueError("says nothing that an engine does")


def _answer(do: Callable[[], Any], id: str, out: Out) -> None:
    try:
        out.say({"done": id, "value": do()})
    except LuthierError as error:
        out.say({"done": id, "error": wire.error_out(error)})
    except Exception as error:
        out.say({"done": id, "error": wire.error_out(LuthierError(f"{type(error).__name__}: {error}"))})


class Out:
    """Writes from a thread of its own, so that no engine waits for a pipe; pieces go together where they may.

    The first and the last piece of an answer go at once, and all that is there with them. Those of one answer that go
    together go as one.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self._begun: set[str] = set()
        self._changed = threading.Condition()
        self._waiting: list[Any] = []
        self._at_once = False
        self.thread = threading.Thread(target=self._write, name="stdout", daemon=True)
        self.thread.start()

    def say(self, document: dict[str, Any]) -> None:
        """Write one line, after all that came before."""
        self._add(document, at_once=True)

    def piece(self, id: str, piece: Piece) -> None:
        """Write a piece of the answer `id`."""
        self._add((id, piece), at_once=piece.finish is not None or id not in self._begun)
        (self._begun.add if piece.finish is None else self._begun.discard)(id)

    def close(self) -> None:
        """Wait until all is written."""
        self._add(None, at_once=True)
        self.thread.join()

    def _add(self, one: Any, at_once: bool) -> None:
        with self._changed:
            self._waiting.append(one)
            self._at_once |= at_once
            if self._at_once or len(self._waiting) == 1:  # a thread that wakes for each piece costs computing time
                self._changed.notify()

    def _all(self) -> list[Any]:
        """What is to be written next: all that comes until some of it may not wait any longer."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            self._changed.wait_for(lambda: self._at_once, GATHER_SECONDS)
            found, self._waiting, self._at_once = self._waiting, [], False
            return found

    def _write(self) -> None:
        while True:
            pieces: dict[str, Piece] = {}
            for one in self._all():
                if isinstance(one, tuple):
                    id, piece = one
                    pieces[id] = pieces[id].and_then(piece) if id in pieces else piece
                else:
                    self._flush(pieces)
                    if one is None:
                        return
                    self.stream.write(wire.line(one))
            self._flush(pieces)
            try:
                self.stream.flush()
            except BrokenPipeError:
                os._exit(0)  # nobody listens any more

    def _flush(self, pieces: dict[str, Piece]) -> None:
        if pieces:
            self.stream.write(wire.line({"pieces": [wire.piece_out(id, piece) for id, piece in pieces.items()]}))
            pieces.clear()


if __name__ == "__main__":
    main()
