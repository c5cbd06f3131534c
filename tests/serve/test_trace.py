"""Traces: written in the background, redacted, and not lost without a word."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from luthier.serve import trace as module
from luthier.serve.trace import Trace, Tracer
from luthier.store import Home, traces


def request(id: str, text: str = "hello", size: int = 10) -> Trace:
    return Trace(id, "chat.completions", "tickets", {"messages": [{"role": "user", "content": text}]}, None, size)


def test_all_that_came_is_written_when_it_closes(home: Home) -> None:
    tracer = Tracer(home, "off")
    tracer.start()
    for number in range(1000):
        tracer.add(request(f"c{number:04}"))
    tracer.close()
    rows = traces.newest(home, 2000)
    assert len(rows) == 1000
    assert tracer.lost == 0
    assert rows[0].request == {"messages": [{"role": "user", "content": "hello"}]}


def test_they_are_there_soon(home: Home) -> None:
    tracer = Tracer(home, "patterns")
    tracer.start()
    tracer.add(request("c1", "I am a@b.example"))
    deadline = time.monotonic() + 5
    while traces.get(home, "c1") is None and time.monotonic() < deadline:
        time.sleep(0.01)
    row = traces.get(home, "c1")
    assert row is not None
    assert row.request["messages"][0]["content"] == "I am [email]"
    tracer.close()


def test_adding_does_not_wait_for_the_disk(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    added, in_time = threading.Event(), list[bool]()
    monkeypatch.setattr(traces, "add", lambda *_: in_time.append(added.wait(2)))
    tracer = Tracer(home, "off")
    tracer.start()
    for number in range(10):
        tracer.add(request(f"c{number}"))
    added.set()
    tracer.close()
    assert in_time
    assert all(in_time)


def test_a_store_that_fails_is_tried_again(home: Home, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    from luthier.errors import StoreError

    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.01)
    failures, real = [StoreError("busy"), StoreError("busy")], traces.add

    def sometimes(*args: Any) -> None:
        if failures:
            raise failures.pop()
        real(*args)

    monkeypatch.setattr(traces, "add", sometimes)
    tracer = Tracer(home, "off")
    tracer.start()
    tracer.add(request("c1"))
    deadline = time.monotonic() + 5
    while failures and time.monotonic() < deadline:
        time.sleep(0.01)
    tracer.close()
    assert traces.get(home, "c1") is not None
    assert "traces are waiting: busy" in capfd.readouterr().err


def test_memory_is_bounded_and_losses_are_counted(home: Home, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 5000)
    tracer = Tracer(home, "off")  # not started: nothing is written meanwhile
    for number in range(10):
        tracer.add(request(f"c{number}", size=1000))
    assert 0 < tracer.lost < 10
    assert "traces are lost" in capfd.readouterr().err


def test_pages_go_back_in_time(home: Home) -> None:
    rows = [module.row_of(request(f"c{number}"), "off") for number in range(5)]
    traces.add(home, rows)
    traces.add(home, rows)  # again: nothing is written twice
    first = traces.newest(home, 2)
    rest = traces.newest(home, 9, before=(first[-1].created_at, first[-1].id))
    assert [row.id for row in [*first, *rest]] == ["c4", "c3", "c2", "c1", "c0"]
    assert traces.newest(home, 9, served="other") == []
