"""How a job tells what it does: events to a reporter, and the seconds of each stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from luthier.store import Home, runs

Timeline = list[dict[str, Any]]
"""`{stage, seconds}` of each finished stage, in order."""


class Reporter(Protocol):
    """Takes events: stage, progress, note, warning."""

    def event(self, kind: str, message: str, data: dict[str, Any] | None = None) -> None: ...


class Silent:
    """Says nothing."""

    def event(self, kind: str, message: str, data: dict[str, Any] | None = None) -> None:
        """Does nothing."""


class Recorded:
    """Passes events on, and keeps those that are worth reading later as events of the run."""

    def __init__(self, reporter: Reporter, home: Home, run_id: str) -> None:
        self.reporter, self.home, self.run_id = reporter, home, run_id

    def event(self, kind: str, message: str, data: dict[str, Any] | None = None) -> None:
        """Keeps all but progress and the ends of stages."""
        if kind != "progress" and (data or {}).get("state") != "done":
            runs.event(self.home, self.run_id, kind, message)
        self.reporter.event(kind, message, data)


class Stages:
    """Names the stages of a job to its reporter and keeps their seconds; `keep` is told of them after each."""

    def __init__(self, reporter: Reporter, keep: Callable[[Timeline], None] = lambda timeline: None) -> None:
        self.reporter, self.keep = reporter, keep
        self.timeline: Timeline = []

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """A stage; yields a function that takes (done, total)."""
        start = time.perf_counter()
        self.reporter.event("stage", name, {"name": name, "state": "start"})

        def progress(done: int, total: int) -> None:
            seconds = time.perf_counter() - start
            left = seconds / done * (total - done) if done else None
            data = {"stage": name, "done": done, "total": total, "seconds": seconds, "eta_seconds": left}
            self.reporter.event("progress", name, data)

        yield progress
        seconds = time.perf_counter() - start
        self.timeline.append({"stage": name, "seconds": seconds})
        self.keep(self.timeline)
        self.reporter.event("stage", name, {"name": name, "state": "done", "seconds": seconds})

    def note(self, text: str) -> None:
        """Something worth knowing."""
        self.reporter.event("note", text, {})
