"""The engine for CPUs: llama.cpp on a GGUF file, with the adapters of a base beside each other.

An answer has a slot to itself. After each token it can be cancelled, and the server can be opened again with one more
adapter: the answer goes on from what is written of it, with a seed at the end of its part.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from luthier.errors import ModelError
from luthier.models.export.gguf_adapter import write_adapter
from luthier.models.export.gguf_header import read_header
from luthier.serve.engines.characters import Characters
from luthier.serve.engines.engine import Ask, OnPiece, Piece, Token
from luthier.serve.engines.grammar import Grammars
from luthier.serve.engines.llama_answer import Answer
from luthier.serve.engines.llama_server import Form, LlamaServer, Wish

MEMORY_BYTES = 1 << 30
"""What keys and values may take, where the specification does not say."""
FEWEST_SLOTS, MOST_SLOTS = 2, 8
"""Answers that are written at once."""
WORTH_TOKENS = 64
"""So many remembered tokens are worth a slot that is not beside the others, which are then computed apart."""


@dataclass(frozen=True)
class Header:
    """What the engine must know of a GGUF file, from its metadata."""

    fields: Mapping[str, Any]

    @property
    def size(self) -> int:
        """Tokens of the vocabulary."""
        return len(self.fields["tokenizer.ggml.tokens"])

    @property
    def end(self) -> int:
        """The id of a token without text."""
        return int(self.fields["tokenizer.ggml.eos_token_id"])

    @property
    def config(self) -> dict[str, Any]:
        """What config.json says of the heads."""
        heads = self._own("attention.head_count")
        return {"model_type": self.fields["general.architecture"], "num_attention_heads": heads,
                "num_key_value_heads": self._own("attention.head_count_kv", heads)}  # fmt: skip

    def places(self, numbers: int) -> tuple[int, int]:
        """How many slots, and tokens of each, whose keys and values are at most so many numbers."""
        config, trained = self.config, self._own("context_length")
        width = self._own("attention.key_length", self._own("embedding_length") // config["num_attention_heads"])
        tokens = numbers // (2 * self._own("block_count") * config["num_key_value_heads"] * width)
        slots = min(max(tokens // trained, FEWEST_SLOTS), MOST_SLOTS)
        return slots, min(trained, tokens // slots)

    def _own(self, key: str, missing: int = 0) -> int:
        return int(self.fields.get(f"{self.fields['general.architecture']}.{key}", missing))


@dataclass
class Slot:
    """A place of the server's: what it has read, and under which adapter."""

    number: int
    ids: Sequence[int] = ()
    adapter: str | None = None

    def shared(self, ask: Ask) -> int:
        """How many tokens of the prompt it has read already."""
        if self.adapter != ask.adapter:
            return -1
        both = takewhile(lambda pair: pair[0] == pair[1], zip(self.ids, ask.prompt, strict=False))
        return sum(1 for _ in both)


def best(free: Sequence[Slot], ask: Ask) -> Slot:
    """One that remembers much of the prompt, else the first: llama.cpp computes slots together that have no gap between
    their numbers."""
    return max(free, key=lambda slot: (slot.shared(ask) // WORTH_TOKENS, -slot.number))


def open_engine(spec: Mapping[str, Any]) -> LlamaEngine:
    """The engine of a specification: `base`, a GGUF file; `tokenizer`, the model's folder; LoRA `adapters` by name.

    `memory_bytes` limits keys and values, which have `memory_bits` a number, 16 (if left out) or 32; `threads` compute,
    all cores if left out: more than there are cores left by others make it slow. Raises ModelError where llama.cpp
    cannot read these files.
    """
    folders = {name: Path(folder) for name, folder in spec.get("adapters", {}).items()}
    limits = {key: spec[key] for key in ("memory_bytes", "memory_bits", "threads") if key in spec}
    return LlamaEngine(Path(spec["base"]), Path(spec["tokenizer"]), folders, **limits)


class LlamaEngine:
    """An `Engine` around llama.cpp."""

    def __init__(
        self, model: Path, tokenizer: Path, adapters: Mapping[str, Path] = {},
        memory_bytes: int = MEMORY_BYTES, memory_bits: int = 16, threads: int | None = None,
    ) -> None:  # fmt: skip
        self.model, self.adapters = model, dict(adapters)
        self._header = Header(read_header(model))
        slots, self.context = self._header.places(8 * memory_bytes // memory_bits)
        self._folder = tempfile.TemporaryDirectory(prefix="luthier-")
        self._files = [self._converted(number, folder) for number, folder in enumerate(self.adapters.values())]
        self._free = [Slot(number) for number in range(slots)]
        threads = threads or len(os.sched_getaffinity(0))
        self._form = Form(slots, self.context, memory_bits, threads, self._header.end, self._header.size)
        self._grammars, self._characters = Grammars(tokenizer, self._header.size), Characters(tokenizer)
        self._server = self._open(self._files)
        self._gate, self._lock, self._loading = Gate(), threading.Lock(), threading.Lock()
        self._waiting: deque[Answer] = deque()
        self._writing: list[Answer] = []
        self._closed = False
        self._writers, self._beside = ThreadPoolExecutor(slots, "slot"), ThreadPoolExecutor(1, "beside")

    def start(self, ask: Ask, on_piece: OnPiece) -> None:
        """As `Engine.start`."""
        answer = Answer(ask, on_piece, min(ask.max_new_tokens, self.context - len(ask.prompt)), self._header.size)
        with self._lock:
            if not self._closed:
                if fault := self._fault(ask):
                    self._beside.submit(answer.end, "error", fault)
                elif answer.left <= 0:
                    self._beside.submit(answer.end, "length")
                else:
                    self._waiting.append(answer)
                    self._give_out()
                return
        on_piece(Piece(finish="error", error="the engine was closed"))

    def cancel(self, id: str) -> None:
        """As `Engine.cancel`. An answer under way ends with its next token."""
        with self._lock:
            for answer in self._writing:
                answer.cancelled |= answer.ask.id == id
            found = [answer for answer in self._waiting if answer.ask.id == id]
            for answer in found:
                self._waiting.remove(answer)
                self._beside.submit(answer.end, "cancelled")

    def embed(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """As `Engine.embed`."""
        raise ModelError("this model writes text and embeds none", str(self.model), "Ask an encoder")

    def load(self, name: str, adapter: Path) -> None:
        """As `Engine.load`. Opens the server again, with one more adapter, between two tokens of all others."""
        with self._loading:
            if self.adapters.get(name) == adapter:
                return
            if name in self.adapters:
                mend = "Give it another name"
                raise ModelError(f"another adapter is called {name!r}", str(self.adapters[name]), mend)
            files = [*self._files, self._converted(len(self._files), adapter)]
            with self._gate.alone():
                self._server.close()
                try:
                    self._server = self._open(files)
                except ModelError as error:
                    self._server = self._open(self._files)
                    raise ModelError("does not fit the base", str(adapter), "Use the base it was trained on") from error
                self._files, self.adapters = files, {**self.adapters, name: adapter}

    def close(self) -> None:
        """As `Engine.close`."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            waiting, self._waiting = list(self._waiting), deque()
        for answer in waiting:
            answer.end("cancelled")
        self._writers.shutdown()
        self._beside.shutdown()
        self._server.close()
        self._folder.cleanup()

    def _fault(self, ask: Ask) -> str:
        """Why this cannot be answered; empty where it can."""
        if ask.adapter is not None and ask.adapter not in self.adapters:
            return f"there is no adapter {ask.adapter!r}; there are {', '.join(self.adapters) or 'none'}"
        if not 0 < len(ask.prompt) < self.context:
            return f"the text has {len(ask.prompt)} tokens, and {self.model.name} reads 1 to {self.context - 1}"
        return ""

    def _give_out(self) -> None:
        """Waiting answers to free slots, and to those of answers that have ended and are about to leave: a slot beside
        the others is better than one that is free already."""
        while self._waiting and self._free and not any(answer.ended for answer in self._writing):
            answer = self._waiting.popleft()
            slot = best(self._free, answer.ask)
            self._free.remove(slot)
            self._writing.append(answer)
            self._writers.submit(self._write, answer, slot)

    def _write(self, answer: Answer, slot: Slot) -> None:
        try:
            if answer.ask.schema is not None:
                answer.matcher = self._grammars.matcher(answer.ask.schema, answer.ask.stop_ids)
            while not answer.ended:
                if answer.cancelled or self._closed:
                    answer.end("cancelled")
                else:
                    with self._gate.open():
                        self._go_on(answer, self._wish(answer, slot))
        except Exception as error:  # a schema that cannot be followed, or a fault of ours: the others are answered
            answer.end("error", str(error) if isinstance(error, ModelError) else f"{type(error).__name__}: {error}")
        finally:
            with self._lock:
                self._writing.remove(answer)
                self._free.append(slot)
                self._give_out()

    def _go_on(self, answer: Answer, wish: Wish) -> None:
        """Write what is wished, or until something else is to happen."""

        def hear(tokens: list[Token]) -> bool:
            answer.take(tokens)
            return not (answer.ended or answer.cancelled or self._closed or (self._gate.shut and not answer.seeded))

        if wish.count == 1:
            hear(self._server.write(wish))
        else:
            self._server.stream(wish, hear)

    def _wish(self, answer: Answer, slot: Slot) -> Wish:
        adapter = answer.ask.adapter
        wish = answer.wish(slot.number, None if adapter is None else list(self.adapters).index(adapter),
                           keep=slot.adapter == adapter)  # fmt: skip
        slot.ids, slot.adapter = wish.ids, adapter
        return wish

    def _converted(self, number: int, adapter: Path) -> Path:
        """A GGUF file of the adapter, which may be one already."""
        if adapter.suffix == ".gguf":
            return adapter
        target = Path(self._folder.name) / f"{number}.gguf"
        write_adapter(adapter, self._header.config, target)
        return target

    def _open(self, adapters: Sequence[Path]) -> LlamaServer:
        return LlamaServer(self.model, adapters, self._form, self._characters)


class Gate:
    """Several may be inside, or one alone, before whom those that come later wait: `shut` tells the others to leave."""

    def __init__(self) -> None:
        self._changed, self._inside, self.shut = threading.Condition(), 0, False

    @contextmanager
    def open(self) -> Iterator[None]:
        """Be inside with others."""
        with self._changed:
            self._changed.wait_for(lambda: not self.shut)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be inside when all others have left. Not for two at once."""
        with self._changed:
            self.shut = True
            self._changed.wait_for(lambda: not self._inside)
        try:
            yield
        finally:
            with self._changed:
                self.shut = False
                self._changed.notify_all()
