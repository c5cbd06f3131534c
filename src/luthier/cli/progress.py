"""How a long job tells what it is doing, always on stderr: a live line, plain lines, or JSON lines.

A reporter has one method, `event(kind, message, data)`:

    stage     {name, state: "start" | "done", seconds}
    progress  {stage, done, total, seconds, loss?, tokens_per_second?, eta_seconds?, metrics?}
    note      something worth knowing
    warning   something worth acting on
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from luthier.cli.screen import one_line

Data = Mapping[str, Any]
SECONDS_BETWEEN_LINES = 10.0
WORTH_A_LINE_SECONDS = 1.0
TOLD = ("reward", "reward_std", "truncated", "answer_tokens", "kl", "clipped", "entropy")
"""Metrics of a step that its line holds, where it has them."""


@contextmanager
def reporter(as_json: bool) -> Iterator[RichReporter | JsonLinesReporter]:
    """The reporter that fits: JSON lines beside `--json`, else lines for people."""
    if as_json:
        yield JsonLinesReporter()
        return
    with RichReporter() as rich:
        yield rich


def notes(as_json: bool) -> Callable[[str], None]:
    """For jobs that have only remarks to make."""
    if as_json:
        return lambda text: JsonLinesReporter().event("note", text)
    return lambda text: print(one_line(text), file=sys.stderr)


class JsonLinesReporter:
    """One JSON object a line: `time` (UTC), `kind`, `message`, and the event's own data."""

    def event(self, kind: str, message: str, data: Data | None = None) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "kind": kind, "message": message, **(data or {})}
        print(json.dumps(line, ensure_ascii=False), file=sys.stderr, flush=True)


class RichReporter:
    """A line that moves on a terminal; elsewhere a line a stage and one every ten seconds."""

    def __init__(self, console: Any = None, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        self.console = console or Console(stderr=True)
        self.live = self.console.is_terminal
        self.clock, self.last_line = clock, -SECONDS_BETWEEN_LINES
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=10),
            TextColumn("{task.fields[of]}", markup=False),
            TextColumn("{task.fields[detail]}", markup=False, table_column=rest),
        )
        self.bars = Progress(*columns, console=self.console, transient=True, expand=True, disable=not self.live)
        self.tasks: dict[str, Any] = {}

    def __enter__(self) -> RichReporter:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def event(self, kind: str, message: str, data: Data | None = None) -> None:
        shown = {
            "stage": self._stage,
            "progress": self._progress,
            "note": self._note,
            "warning": self._warning,
        }
        shown[kind](message, data or {})

    def _stage(self, message: str, data: Data) -> None:
        name = data["name"]
        if data["state"] == "done":
            if name in self.tasks:
                self.bars.remove_task(self.tasks.pop(name))
            if data["seconds"] >= WORTH_A_LINE_SECONDS:
                self._line(f"{name}: done in {time_text(data['seconds'])}")
        elif self.live:
            self.tasks[name] = self.bars.add_task(message or name, total=None, of="", detail="")
        else:
            self.last_line = self.clock()
            self._line(message or name)

    def _progress(self, message: str, data: Data) -> None:
        name, detail = data["stage"], detail_text(data)
        if self.live:
            if name not in self.tasks:
                self.tasks[name] = self.bars.add_task(message or name, total=None, of="", detail="")
            of = f"{data['done']}/{data['total']}" if data["total"] else ""
            self.bars.update(self.tasks[name], completed=data["done"], total=data["total"], of=of, detail=detail)
        elif self.clock() - self.last_line >= SECONDS_BETWEEN_LINES or data["done"] == data["total"]:
            self.last_line = self.clock()
            self._line(f"{name}: {data['done']}/{data['total']}  {detail}".rstrip())

    def _note(self, message: str, data: Data) -> None:
        self._line(message)

    def _warning(self, message: str, data: Data) -> None:
        self._line(f"warning: {message}", style="yellow")

    def _line(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=not self.live)


def detail_text(data: Data) -> str:
    """`3 min 0 s left  loss 1.250  183 tokens/s`: what is known of it, the most wanted first."""
    parts = []
    left = seconds_left(data)
    if left:
        parts.append(f"{time_text(left)} left")
    if data.get("loss") is not None:
        parts.append(f"loss {data['loss']:.3f}")
    if data.get("tokens_per_second"):
        parts.append(f"{data['tokens_per_second']:.0f} tokens/s")
    metrics = data.get("metrics") or {}
    shown = (name for name in metrics if name in TOLD or name.startswith("validation_"))
    parts += [f"{name} {metrics[name]:.4g}" for name in shown]
    return "  ".join(parts)


def seconds_left(data: Data) -> float | None:
    """The job's own estimate, else a linear one from what is done so far."""
    if data.get("eta_seconds") is not None:
        return data["eta_seconds"]
    done, total, seconds = data["done"], data["total"], data.get("seconds")
    return (total - done) * seconds / done if done and total and seconds else None


def time_text(seconds: float) -> str:
    from luthier.evaluate.report.numbers import duration

    return duration(seconds)
