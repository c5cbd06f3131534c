"""One answer, from the tokens of an engine to what a client reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from luthier.data.render import Renderer
from luthier.serve.chat.calls import Call, CallFinder, CallForm
from luthier.serve.chat.detokenize import Detokenizer
from luthier.serve.chat.request import ChatRequest
from luthier.serve.chat.stops import StopFinder
from luthier.serve.engines.engine import Piece, Token
from luthier.serve.refusals import Unanswered
from luthier.serve.token_bytes import byte_reader

LEAST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON does not know."""


class Delta(NamedTuple):
    """Some more of an answer; the last one has `finish`, as OpenAI names it."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    logprobs: tuple[dict[str, Any], ...] = ()
    finish: str | None = None


class Writer:
    """Turns pieces into deltas. `done`: the answer has ended, whatever the engine would still write."""

    def __init__(self, renderer: Renderer, request: ChatRequest, form: CallForm | None) -> None:
        """`form`: how the model writes calls, where it may call."""
        tokenizer, added = renderer.tokens.tokenizer, renderer.tokens.added
        marks = (form.opens, form.closes) if form else ()
        self._detokenizer = Detokenizer(tokenizer, {added[mark]: mark for mark in marks if mark in added})
        self._stops = StopFinder(request.stop)
        names = request.forced or tuple(tool["function"]["name"] for tool in request.tools)
        self._calls = CallFinder(form, names, begun=bool(request.forced)) if form else None
        self._most_calls = None if request.parallel_calls else 1
        entry = entry_of(byte_reader(tokenizer)) if request.top_logprobs is not None else None
        self._logprobs = Logprobs(entry)
        self._called = False
        self.tokens = 0
        self.done = False

    def add(self, piece: Piece) -> Delta:
        """Raises Unanswered where the engine could not go on."""
        said, calls = "", list[Call]()
        for token in piece.tokens:
            if self.done:
                break
            self.tokens += 1
            text = self._detokenizer.add(token.id)
            self._logprobs.add(token, len(text))
            more, called = self._let_through(self._stops.add(text), last=self._stops.found)
            said, calls = said + more, calls + called
            self.done = self._stops.found or (self._most_calls is not None and bool(calls))
        if self.done or piece.finish is None:
            return self._delta(said, calls, "stop" if self.done else None)
        if piece.finish in ("error", "cancelled"):
            raise Unanswered(f"the answer ended early: {piece.error or 'the engine was closed'}")
        text = self._detokenizer.end()
        self._logprobs.text(len(text))
        more, called = self._let_through(self._stops.add(text) + self._stops.end(), last=True)
        self.done = True
        return self._delta(said + more, calls + called, "stop" if self._stops.found else piece.finish)

    def _let_through(self, text: str, last: bool) -> tuple[str, list[Call]]:
        self._logprobs.release(len(text))
        return self._calls.add(text, last) if self._calls else (text, [])

    def _delta(self, said: str, calls: list[Call], finish: str | None) -> Delta:
        calls = calls[: self._most_calls]
        self._called = self._called or bool(calls)
        finish = "tool_calls" if finish == "stop" and self._called else finish
        return Delta(said, tuple(calls), self._logprobs.take(finish is not None, self._stops.found), finish)


class Logprobs:
    """Entries of tokens, each let go together with the end of its text."""

    def __init__(self, entry: Callable[[Token], dict[str, Any]] | None) -> None:
        self._entry = entry
        self._unread: list[dict[str, Any]] = []
        self._queue: list[tuple[int, int, dict[str, Any]]] = []
        self._read = self._released = 0

    def add(self, token: Token, characters: int) -> None:
        """A token, and the characters of text that have become whole with it."""
        if self._entry:
            self._unread.append(self._entry(token))
            self.text(characters)

    def text(self, characters: int) -> None:
        if characters:
            start, self._read = self._read, self._read + characters
            self._queue += [(start, self._read, entry) for entry in self._unread]
            self._unread = []

    def release(self, characters: int) -> None:
        self._released += characters

    def take(self, last: bool, stopped: bool) -> tuple[dict[str, Any], ...]:
        """Entries of what has been released; with the last, those of its remaining tokens too, unless a stop string
        cut them off."""
        ready = [item for item in self._queue if item[1] <= self._released or (last and item[0] < self._released)]
        entries = [entry for _, _, entry in ready]
        self._queue = self._queue[len(ready) :]
        if last and not stopped:
            entries += [*(entry for _, _, entry in self._queue), *self._unread]
        return tuple(entries)


def entry_of(read: Callable[[int], bytes]) -> Callable[[Token], dict[str, Any]]:
    """The entry of OpenAI's `logprobs.content` for a token."""

    def one(id: int, logprob: float | None) -> dict[str, Any]:
        raw = read(id)
        value = LEAST_LOGPROB if logprob is None else max(logprob, LEAST_LOGPROB)
        return {"token": _shown(raw), "logprob": value, "bytes": list(raw)}

    def entry(token: Token) -> Mapping[str, Any]:
        return one(token.id, token.logprob) | {"top_logprobs": [one(*pair) for pair in token.top]}

    return entry  # type: ignore[return-value]


def _shown(raw: bytes) -> str:
    """The text of a token; `bytes:` and its bytes where they are no whole characters."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)
