"""The process around the application: where it listens, and how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from luthier.api import patience, server
from luthier.errors import LuthierError
from luthier.store import Home, keys, traces

HELLO = [{"role": "user", "content": "hello"}]


def test_a_taken_port_is_named_with_the_next_one(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LuthierError, match=rf"port {port} is taken.*--port {port + 1}"):
            server.listen(home, "127.0.0.1", port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_others_reach_no_server_without_keys(home: Home, host: str) -> None:
    with pytest.raises(LuthierError, match=r"this home has no API key.*luthier keys create"):
        server.listen(home, host, 0)


def test_small_packets_go_at_once(patient: Any) -> None:
    """Without it, each reply waits some 40 ms for the client's acknowledgement of its head."""
    with httpx.Client(base_url="http://{}:{}".format(*patient)) as client:
        client.get("/health")
        taken = []
        for _ in range(20):
            begun = time.perf_counter()
            client.get("/health")
            taken.append(time.perf_counter() - begun)
        assert min(taken) < 0.03  # a busy machine slows some, a waiting packet all


def test_with_a_key_it_listens_anywhere(home: Home) -> None:
    keys.create(home, "laptop")
    server.listen(home, "0.0.0.0", 0).close()
    with pytest.raises(LuthierError, match="an address of this machine"):
        server.listen(home, "192.0.2.1", 0)
    for port in (-1, 70_000):
        with pytest.raises(LuthierError, match="is no port"):
            server.listen(home, "127.0.0.1", port)


@pytest.fixture
def patient(service: Any, home: Home) -> Any:
    """A server as `luthier serve` runs it, in a thread; (host, port)."""
    listening = server.listen(home, "127.0.0.1", 0)
    running = server.uvicorn_of(service.state())
    thread = threading.Thread(target=running.run, args=([listening],), daemon=True)
    thread.start()
    yield listening.getsockname()[:2]
    running.should_exit = True
    thread.join(5)


def test_a_slow_head_is_not_waited_for(patient: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "HEAD_SECONDS", 0.2)
    with socket.create_connection(patient, 5) as slow, socket.create_connection(patient, 5) as silent:
        slow.sendall(b"GET /health HTTP/1.1\r\nhost: loc")
        begun = time.perf_counter()
        assert slow.recv(10) == silent.recv(10) == b""
    assert time.perf_counter() - begun < 3


def test_a_connection_is_kept_between_requests(patient: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "HEAD_SECONDS", 0.2)
    with httpx.Client(base_url="http://{}:{}".format(*patient)) as client:
        for _ in range(3):
            assert client.get("/health").status_code == 200
            time.sleep(0.25)


@pytest.mark.parametrize(
    "head", [b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 40_000, b"\0\1\2\r\n\r\n"]
)
def test_what_is_no_http_is_told_in_json(patient: Any, head: bytes) -> None:
    with socket.create_connection(patient, 5) as wrong:
        wrong.sendall(head)
        reply = b"".join(iter(lambda: wrong.recv(4096), b""))
    assert reply.startswith(b"HTTP/1.1 400 ")
    assert json.loads(reply.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_http"


def start(home: Home, *words: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    command = [sys.executable, "-c", "import sys; from luthier.cli import main; sys.exit(main())", "serve", *words]
    process = subprocess.Popen([*command, "--port", "0", "--json"], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, json.loads(process.stdout.readline())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_answers_are_finished_and_traces_written_when_it_is_told_to_stop(
    home: Home, tiny_llama: Path, number: signal.Signals
) -> None:
    process, about = start(home, str(tiny_llama), "--engine", "torch")
    body = {"model": str(tiny_llama), "messages": HELLO, "stream": True, "max_tokens": 300, "seed": 1,
            "logit_bias": {"2": -100}}  # fmt: skip
    with httpx.stream("POST", about["url"] + "/chat/completions", json=body, timeout=30) as reply:
        events = reply.iter_text()
        first = next(events)
        process.send_signal(number)
        rest = first + "".join(events)
    assert rest.endswith("data: [DONE]\n\n")
    assert process.wait(20) == 0
    row = traces.newest(home, 1)[0]
    assert (row.status, row.completion_tokens) == (200, 300)
