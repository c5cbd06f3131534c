"""One row a request, written by a thread of its own so that no answer waits for the disk."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from luthier.errors import LuthierError
from luthier.serve.redact import Redaction, redact
from luthier.store import Home, traces
from luthier.store.clock import now
from luthier.store.traces import TraceRow

MOST_BYTES = 256 << 20
"""Of requests and answers that are not written yet; beyond it their rows are lost, and counted."""
ROW_BYTES = 1000
"""Of a row without its texts, roughly."""
GATHER_SECONDS = 0.25
"""How long a trace waits for others: writing each by itself takes a millisecond, which the next prompt would lose."""
BATCH_ROWS = 200
AGAIN_SECONDS = 1.0
CLOSING_SECONDS = 10.0


@dataclass
class Trace:
    """A request as it goes on; the route fills it in."""

    id: str
    route: str
    model: str
    request: Mapping[str, Any]
    key_id: str | None
    size: int
    """Bytes of the request; those of the answer come on top."""
    served: str = ""
    run_id: str | None = None
    answer: Mapping[str, Any] | None = None
    status: int = 200
    error: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_token_ms: float | None = None
    total_ms: float = 0.0
    cached: bool = False
    created_at: str = field(default_factory=now)
    begun: float = field(default_factory=time.perf_counter)

    def since_ms(self) -> float:
        """Milliseconds since the request came."""
        return 1000 * (time.perf_counter() - self.begun)


class Tracer:
    """Takes traces from any thread and writes them, redacted, in the order in which they came."""

    def __init__(self, home: Home, redaction: Redaction) -> None:
        self.home, self.redaction = home, redaction
        self.lost = 0
        """Traces that could not be kept."""
        self._waiting: deque[Trace] = deque()
        self._bytes = 0
        self._wake, self._closing = threading.Condition(), False
        self._thread = threading.Thread(target=self._write_all, name="traces", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def add(self, trace: Trace) -> None:
        """The request has ended; its trace is written soon."""
        trace.total_ms = trace.since_ms()
        with self._wake:
            if self._bytes + trace.size > MOST_BYTES:
                self._lose(1, "too many are not written yet")
                return
            self._waiting.append(trace)
            self._bytes += trace.size + ROW_BYTES
            self._wake.notify()

    def close(self) -> None:
        """Write what is left, and end."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(CLOSING_SECONDS)

    def _write_all(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or self._closing)
                ending = self._closing
            if not ending:
                time.sleep(GATHER_SECONDS)  # what comes meanwhile goes into the same transaction
            while self._waiting and self._write_some(ending):
                pass
            if ending and not self._waiting:
                return

    def _write_some(self, ending: bool) -> bool:
        """Write the oldest; False where the store could not be used and it is worth trying again."""
        batch = [self._waiting[i] for i in range(min(BATCH_ROWS, len(self._waiting)))]
        try:
            traces.add(self.home, [row_of(trace, self.redaction) for trace in batch])
        except LuthierError as error:
            if not ending:
                print(f"traces are waiting: {error}", file=sys.stderr, flush=True)
                time.sleep(AGAIN_SECONDS)
                return False
            self._lose(len(batch), str(error))
        with self._wake:
            for trace in batch:
                self._waiting.popleft()
                self._bytes -= trace.size + ROW_BYTES
        return True

    def _lose(self, number: int, why: str) -> None:
        self.lost += number
        print(f"{number} traces are lost ({self.lost} in all): {why}", file=sys.stderr, flush=True)


def row_of(trace: Trace, redaction: Redaction) -> TraceRow:
    """The row of a trace, with nothing in it that redaction takes out."""
    request = redact(trace.request, redaction)
    return TraceRow(
        id=trace.id, created_at=trace.created_at, route=trace.route, model=redact(trace.model, redaction, "model"),
        served=trace.served, run_id=trace.run_id, key_id=trace.key_id, request=request,
        answer=None if trace.answer is None else redact(trace.answer, redaction), status=trace.status,
        error=None if trace.error is None else redact(trace.error, redaction, "model"),
        prompt_tokens=trace.prompt_tokens, completion_tokens=trace.completion_tokens,
        first_token_ms=trace.first_token_ms, total_ms=trace.total_ms, cached=trace.cached,
        metadata=request.get("metadata") if isinstance(request.get("metadata"), Mapping) else None,
    )  # fmt: skip
