"""Chat over HTTP, with an unmodified `openai` client where one is enough to tell."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from registering import register

from luthier.errors import EngineLost
from luthier.store import Home, keys, traces

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def server(start: Any, service: Any) -> Any:
    return start(service.state())


@pytest.fixture
def client(server: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def ask(server: Any, **body: Any) -> httpx.Response:
    return server.client.post("/v1/chat/completions", json={"model": "tiny-llama", "messages": HELLO, **body})


def words(service: Any) -> str:
    renderer = service.find(service_route("tiny-llama")).renderer
    return renderer.decode(service.engine["ids"])


def service_route(name: str) -> Any:
    from luthier.serve.routing import Route

    return Route(name, None)


def test_a_client_is_answered(client: openai.OpenAI, service: Any) -> None:
    reply = client.chat.completions.create(model="tiny-llama", messages=HELLO)
    assert reply.choices[0].message.content == words(service)
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.completion_tokens == 4 or reply.usage.completion_tokens == 3
    assert reply._request_id.startswith("req_")


def test_a_stream_spells_the_same_answer(client: openai.OpenAI, service: Any) -> None:
    with client.chat.completions.stream(model="tiny-llama", messages=HELLO) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == words(service)
    chunks = list(client.chat.completions.create(model="tiny-llama", messages=HELLO, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    counted = list(client.chat.completions.create(
        model="tiny-llama", messages=HELLO, stream=True, stream_options={"include_usage": True}))  # fmt: skip
    assert counted[-1].choices == []
    assert counted[-1].usage.prompt_tokens > 0
    assert len({chunk.id for chunk in counted}) == 1


def test_a_stream_ends_as_the_protocol_says(server: Any) -> None:
    reply = ask(server, stream=True)
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = reply.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(json.loads(event.removeprefix("data: "))["object"] == "chat.completion.chunk" for event in events[:-2])


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"messages": []}, 400, "messages"),
        ({"temperature": 3}, 400, "temperature"),
        ({"model": "nobody"}, 404, "model"),
        ({"model": "tiny-bert"}, 400, "model"),
        ({"model": None}, 400, "model"),
        ({"n": "x" * 10}, 400, "n"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_refusals_are_no_streams(server: Any, body: dict[str, Any], status: int, param: str, stream: bool) -> None:
    reply = ask(server, **{"stream": stream, **body})
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/json"
    assert reply.json()["error"]["param"] == param


def test_each_reply_is_a_trace_under_its_id(server: Any, home: Home) -> None:
    whole = ask(server, metadata={"customer": "7"}).json()
    streamed = ask(server, stream=True).text
    refused = ask(server, model="nobody")
    server.stop()
    rows = {row.id: row for row in traces.newest(home, 10)}
    assert len(rows) == 3
    row = rows[whole["id"]]
    assert (row.route, row.model, row.served, row.status) == ("chat.completions", "tiny-llama", "tiny-llama", 200)
    assert row.answer["choices"] == whole["choices"]
    assert row.completion_tokens == whole["usage"]["completion_tokens"]
    assert row.metadata == {"customer": "7"}
    chunk = json.loads(streamed.split("\n\n")[0].removeprefix("data: "))
    other = rows[chunk["id"]]
    assert other.answer["choices"][0]["message"] == whole["choices"][0]["message"]
    assert other.completion_tokens == row.completion_tokens
    assert 0 < other.first_token_ms <= other.total_ms
    lost = next(row for row in rows.values() if row.status == 404)
    assert lost.error == refused.json()["error"]["message"]


def test_a_deterministic_answer_is_made_once_for_each_key(start: Any, service: Any, home: Home) -> None:
    server = start(service.state())
    secrets = [keys.create(home, name)[1] for name in ("a", "b")]

    def of(secret: str, **more: Any) -> dict[str, Any]:
        server.client.headers["authorization"] = f"Bearer {secret}"
        return ask(server, **{"temperature": 0, **more}).json()

    first, again = of(secrets[0]), of(secrets[0], metadata={"a": "b"})
    assert len(service.remotes[0].asks) == 1
    assert first["id"] != again["id"]
    assert first["choices"] == again["choices"]
    assert again["metadata"] == {"a": "b"}
    of(secrets[1])
    of(secrets[0], temperature=1)
    assert len(service.remotes[0].asks) == 3
    assert b'luthier_cached_answers_total{model="tiny-llama"} 1.0' in server.client.get("/metrics").content


def test_equal_requests_at_one_time_are_answered_once(start: Any, service: Any) -> None:
    service.engine = {"ids": [40, 41], "seconds": 0.1}
    server = start(service.state())
    replies: list[httpx.Response] = []
    threads = [threading.Thread(target=lambda: replies.append(ask(server, temperature=0))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(service.remotes[0].asks) == 1
    assert len({reply.json()["id"] for reply in replies}) == 4


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_its_answer(start: Any, service: Any, home: Home, stream: bool) -> None:
    service.engine = {"ids": [40] * 1000, "seconds": 0.02}
    server = start(service.state())
    body = {"model": "tiny-llama", "messages": HELLO, "stream": stream}
    if stream:
        with server.client.stream("POST", "/v1/chat/completions", json=body) as reply:
            next(reply.iter_raw())
    else:
        with pytest.raises(httpx.TimeoutException):
            server.client.post("/v1/chat/completions", timeout=0.5, json=body)
    deadline = time.monotonic() + 3
    while not service.remotes[0].given_up and time.monotonic() < deadline:
        time.sleep(0.01)
    assert service.remotes[0].given_up
    server.stop()
    assert traces.newest(home, 1)[0].status == 499


@pytest.mark.parametrize("stream", [False, True])
def test_time_that_is_over_is_not_asked_for_again(start: Any, service: Any, home: Home, stream: bool) -> None:
    service.engine = {"ids": [40] * 1000, "seconds": 0.05}
    server = start(service.state())
    body = {"model": "tiny-llama", "messages": HELLO, "stream": stream}
    reply = server.client.post("/v1/chat/completions", json=body, headers={"x-request-timeout": "0.3"})
    if stream:
        error = json.loads(reply.text.split("\n\n")[-2].removeprefix("data: "))["error"]
    else:
        assert reply.status_code == 408
        assert reply.headers["x-should-retry"] == "false"
        error = reply.json()["error"]
    assert error["code"] == "timeout"
    assert service.remotes[0].given_up
    server.stop()
    row = traces.newest(home, 1)[0]
    assert row.status == 408
    assert (row.answer is not None) == stream


def test_a_full_line_says_when_to_come_again(start: Any, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.serve import deck

    monkeypatch.setattr(deck, "PLACES", 1)
    service.engine, service.waiting = {"ids": [40] * 10, "seconds": 0.05}, 0
    server = start(service.state())
    busy = threading.Thread(target=lambda: ask(server))
    busy.start()
    time.sleep(0.25)
    refused = ask(server)
    busy.join()
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "queue_full"
    assert int(refused.headers["retry-after-ms"]) > 0
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=5)
    assert client.chat.completions.create(model="tiny-llama", messages=HELLO).choices


def test_an_engine_that_dies_in_the_middle_is_said_in_the_stream(start: Any, service: Any, home: Home) -> None:
    service.engine = {"ids": [40, 41], "error": EngineLost("the process of the engine ended")}
    server = start(service.state())
    events = ask(server, stream=True).text.split("\n\n")
    assert json.loads(events[-2].removeprefix("data: "))["error"]["code"] == "engine_unavailable"
    server.stop()
    row = traces.newest(home, 1)[0]
    assert (row.status, row.answer["choices"][0]["finish_reason"]) == (503, None)
    assert row.answer["choices"][0]["message"]["content"]


def test_silence_is_filled(start: Any, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.api import events

    monkeypatch.setattr(events, "SILENCE_SECONDS", 0.05)
    service.engine = {"ids": [40, 41], "seconds": 0.3}
    reply = ask(start(service.state()), stream=True)
    assert reply.text.startswith(": waiting\n\n")
    assert reply.text.endswith("data: [DONE]\n\n")


def test_adapters_are_loaded_once_and_named_by_their_files(
    start: Any, service: Any, home: Home, tmp_path: Path
) -> None:
    server = start(service.state())
    refs = [register(home, tmp_path / "adapter") for _ in range(2)]
    for ref in [*refs, refs[0]]:
        assert ask(server, model=ref).json()["model"] == ref
    remote = service.remotes[0]
    assert len(service.remotes) == 1
    assert len(remote.loaded) == 2
    assert [ask_.adapter for ask_ in remote.asks] == [*remote.loaded, remote.loaded[0]]
