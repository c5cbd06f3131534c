"""The reference engine: the policy that is trained, evaluated and merged, writing answers as they come.

One thread holds the model. It reads waiting prompts in packs, lets them join the rows under way, and decodes one token
of all of them at a time; each row has its own adapter, settings and random numbers. Whatever is wished of the engine
waits in one queue that this thread looks into between two steps.
"""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import torch

from luthier.errors import EngineLost, LuthierError, ModelError
from luthier.models.adapt.tenants import add_tenant
from luthier.models.load import load_base, load_policy
from luthier.models.locate import ModelFiles, locate
from luthier.models.policy import Policy
from luthier.serve.engines.decoding import Decoding, token_bytes
from luthier.serve.engines.embedding import vectors
from luthier.serve.engines.engine import Ask, OnPiece, Piece
from luthier.serve.engines.grammar import Grammars
from luthier.serve.engines.row import Row
from luthier.store import Home

READ_TOKENS = 512
"""Prompts are read in packs of about so many tokens, with a step of the rows under way between two packs."""
MEMORY_BYTES = 1 << 30
"""What keys and values may take, where the specification does not say."""


def open_engine(spec: Mapping[str, Any]) -> TorchEngine:
    """The engine of a specification: `base`, a model folder or a packaged model, with its LoRA `adapters`.

    `tuned`: the folder of one version whose adapter is of another kind, or which has all weights; the engine then is
    that version. `memory_bytes` limits keys and values; `device` is where it runs, a CPU if left out.
    Raises ModelError where the files do not make such a model.
    """
    files = locate(spec["base"], Home.open().cache("models"))
    device = spec.get("device", "cpu")
    tuned = spec.get("tuned")
    policy = load_base(files, device) if tuned is None else load_policy(files, Path(tuned), device)
    policy.train(False)
    engine = TorchEngine(policy, files, spec.get("memory_bytes", MEMORY_BYTES))
    for name, folder in spec.get("adapters", {}).items():
        engine.load(name, Path(folder))
    return engine


class TorchEngine:
    """An `Engine` around a policy and the files that its base was loaded from."""

    def __init__(self, policy: Policy, files: ModelFiles, memory_bytes: int = MEMORY_BYTES) -> None:
        self.policy, self.files = policy, files
        self.adapters: dict[str, Path] = {}
        self._most_tokens, self._grammars = 0, None
        if policy.lm_head is not None:
            self._most_tokens = memory_bytes // token_bytes(policy)
            self._grammars = Grammars(files.folder, policy.lm_head.out_features)
        self._decoding = Decoding(policy, self._most_tokens)
        self._waiting: deque[Row] = deque()
        self._preparing: list[Row] = []
        self._texts: list[tuple[Sequence[Sequence[int]], Future[list[list[float]]]]] = []
        self._wishes: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._closed, self._lock = False, threading.Lock()
        self._beside = ThreadPoolExecutor(1, "grammar")
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def start(self, ask: Ask, on_piece: OnPiece) -> None:
        """As `Engine.start`."""
        try:
            self._wish(partial(self._start, ask, on_piece))
        except EngineLost as error:
            on_piece(Piece(finish="error", error=str(error)))

    def cancel(self, id: str) -> None:
        """As `Engine.cancel`."""
        if not self._closed:
            self._wishes.put(partial(self._cancel, id))

    def embed(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """As `Engine.embed`. Rows of callers that come at the same time go through the model together."""
        if self._grammars is not None:
            raise ModelError("this model writes text and embeds none", self.files.name, "Ask an encoder")
        if fault := next(filter(None, (self._fault(len(row), None, 0) for row in rows)), None):
            raise ModelError(fault, self.files.name)
        future: Future[list[list[float]]] = Future()
        self._wish(lambda: self._texts.append((rows, future)))
        return future.result()

    def load(self, name: str, adapter: Path) -> None:
        """As `Engine.load`."""
        future: Future[None] = Future()
        self._wish(partial(_fulfil, future, partial(self._load, name, adapter)))
        future.result()

    def close(self) -> None:
        """As `Engine.close`."""
        with self._lock:
            if not self._closed:
                self._wishes.put(self._end)
                self._closed = True
        self._thread.join()
        self._beside.shutdown()

    def _wish(self, wish: Callable[[], None]) -> None:
        with self._lock:
            if self._closed:
                raise EngineLost("the engine was closed")
            self._wishes.put(wish)

    def _run(self) -> None:
        with torch.inference_mode():
            while self._listen():
                try:
                    self._embed()
                    self._read()
                    self._step()
                except Exception as error:  # no memory left, or a fault of ours: the next ones are answered
                    traceback.print_exc()
                    self._fail(f"{type(error).__name__}: {error}")

    def _listen(self) -> bool:
        """Do what was wished meanwhile, or wait for it where there is nothing to do; whether the engine goes on."""
        idle = not (self._waiting or self._texts or any(self._decoding))
        try:
            while True:
                wish = self._wishes.get(block=idle)
                wish()
                if wish == self._end:
                    return False
                idle = False
        except Empty:
            return True

    def _start(self, ask: Ask, on_piece: OnPiece) -> None:
        limit = min(ask.max_new_tokens, self.files.context_length - len(ask.prompt))
        row = Row(ask, on_piece, limit)
        if fault := self._fault(len(ask.prompt), ask.adapter, 1):
            row.end("error", fault)
        elif limit <= 0:
            row.end("length")
        elif ask.schema is None:
            self._waiting.append(row)
        else:
            self._preparing.append(row)
            self._beside.submit(self._prepare, row)

    def _fault(self, tokens: int, adapter: str | None, new: int) -> str:
        """Why a row of so many tokens cannot be read, and so many written after it; empty where it can."""
        longest = self.files.context_length - new
        if new and self._grammars is None:
            return f"{self.files.name} is an encoder and writes no text"
        if adapter is not None and adapter not in self.adapters:
            return f"there is no adapter {adapter!r}; there are {', '.join(self.adapters) or 'none'}"
        if not 0 < tokens <= longest:
            return f"the text has {tokens} tokens, and {self.files.name} reads 1 to {longest}"
        return ""

    def _prepare(self, row: Row) -> None:
        """Make the row's grammar, on a thread of its own, as that may take long."""
        assert self._grammars is not None
        assert row.ask.schema is not None
        error = ""
        try:
            row.matcher = self._grammars.matcher(row.ask.schema, row.ask.stop_ids)
        except Exception as fault:
            error = str(fault) if isinstance(fault, LuthierError) else f"{type(fault).__name__}: {fault}"
        self._wishes.put(partial(self._prepared, row, error))

    def _prepared(self, row: Row, error: str) -> None:
        if not row.ended:
            self._preparing.remove(row)
            if error:
                row.end("error", error)
            else:
                self._waiting.append(row)

    def _cancel(self, id: str) -> None:
        row = next((row for row in self._all() if row.ask.id == id), None)
        if row is not None:
            row.end("cancelled")
            self._forget([row])

    def _load(self, name: str, adapter: Path) -> None:
        if self.adapters.get(name) == adapter:
            return
        if name in self.adapters:
            raise ModelError(f"another adapter is called {name!r}", str(self.adapters[name]), "Give it another name")
        with torch.inference_mode(False):
            add_tenant(self.policy, self.files, name, adapter)
        self.adapters[name] = adapter

    def _embed(self) -> None:
        asked, self._texts = self._texts, []
        if asked:
            future: Future[list[list[float]]] = Future()
            _fulfil(future, lambda: vectors(self.policy, [row for rows, _ in asked for row in rows]))
            for rows, own in asked:
                _fulfil(own, lambda rows=rows: [future.result().pop(0) for _ in rows])  # type: ignore[misc]

    def _read(self) -> None:
        """Let waiting rows in, as many as there is place for, and no more than make a pack."""
        rows: list[Row] = []
        while self._waiting and (not rows or sum(row.length for row in [*rows, self._waiting[0]]) <= READ_TOKENS):
            if (rows or any(self._decoding)) and not self._decoding.fits([*rows, self._waiting[0]]):
                break
            rows.append(self._waiting.popleft())
        if rows:
            self._preparing += rows  # so that they are told, should reading them fail
            self._decoding.enter(rows)
            self._preparing = [row for row in self._preparing if row not in rows]

    def _step(self) -> None:
        if any(self._decoding):
            self._waiting.extendleft(self._decoding.step())

    def _all(self) -> list[Row]:
        return [*self._decoding, *self._waiting, *self._preparing]

    def _forget(self, rows: list[Row]) -> None:
        self._decoding.leave(rows)
        self._waiting = deque(row for row in self._waiting if row not in rows)
        self._preparing = [row for row in self._preparing if row not in rows]

    def _fail(self, error: str) -> None:
        """End the rows that the model was at work on."""
        rows = [row for row in (*self._decoding, *self._preparing) if row.ask.schema is None or row.matcher]
        for row in rows:
            if not row.ended:
                row.end("error", error)
        self._preparing = [row for row in self._preparing if row not in rows]
        self._decoding = Decoding(self.policy, self._most_tokens)

    def _end(self) -> None:
        for row in self._all():
            row.end("cancelled")
        for _, future in self._texts:
            future.set_exception(EngineLost("the engine was closed"))


def _fulfil(future: Future[Any], do: Callable[[], Any]) -> None:
    try:
        future.set_result(do())
    except Exception as error:
        future.set_exception(error)
