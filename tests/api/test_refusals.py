"""What a client hears that is not answered: one shape, a request id, never a stack trace."""

from __future__ import annotations

import socket
import time
from typing import Any

import httpx
import pytest

from luthier.api import limits
from luthier.store import keys


def error_of(reply: httpx.Response, status: int) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"].startswith("req_")
    assert set(reply.json()) == {"error"}
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    return reply.json()["error"]


@pytest.fixture
def server(start: Any, service: Any) -> Any:
    return start(service.state())


def test_unknown_routes_and_methods(server: Any) -> None:
    assert error_of(server.client.get("/v1/nothing"), 404)["code"] == "unknown_route"
    refused = server.client.put("/health")
    assert error_of(refused, 405)["code"] == "method_not_allowed"
    assert refused.headers["allow"] == "GET"
    assert server.client.post("/v1/models/any").headers["allow"] == "DELETE, GET"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b'{"model": NaN}', "NaN is no number"),
        (b"\xff\xfe", "not"),
        (b'{"model": "\\ud800"}', "not text"),
        (b"[" * 100_000, "nested"),
        (b'{"a":' * 150 + b"1" + b"}" * 150, "nested more than 100 deep"),
        (b'{"n": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_bodies_that_are_no_request(server: Any, body: bytes, said: str) -> None:
    reply = server.client.post("/v1/embeddings", content=body, headers={"content-type": "application/json"})
    assert said in error_of(reply, 400)["message"]


def test_only_json_is_read(server: Any) -> None:
    reply = server.client.post("/v1/embeddings", content=b"{}", headers={"content-type": "text/plain"})
    assert error_of(reply, 400)["code"] == "unsupported_content_type"


def test_a_large_body_is_refused_with_a_reason(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_BYTES", 1 << 20)
    json = {"content-type": "application/json"}
    large = b"x" * (3 << 20)
    told = server.client.post("/v1/embeddings", content=large, headers=json)
    assert error_of(told, 413)["message"] == "the body is larger than 1 MiB."
    untold = server.client.post(
        "/v1/embeddings", content=(large[at : at + 9999] for at in range(0, 3 << 20, 9999)), headers=json
    )
    assert error_of(untold, 413)["code"] == "request_too_large"


def test_a_slow_body_is_not_waited_for(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PATIENCE_SECONDS", 0.2)
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 5) as slow:
        slow.sendall(b"POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                     b"content-length: 100\r\n\r\n{")  # fmt: skip
        begun = time.perf_counter()
        reply = b"".join(iter(lambda: slow.recv(4096), b""))
    assert reply.startswith(b"HTTP/1.1 408 ")
    assert b"the body came too slowly" in reply
    assert time.perf_counter() - begun < 3


def test_a_bug_is_told_by_its_request_id_alone(start: Any, service: Any, capfd: pytest.CaptureFixture[str]) -> None:
    state = service.state()
    state.deck.routes.bases = lambda: 1 // 0
    reply = start(state).client.get("/v1/models")
    said = error_of(reply, 500)["message"]
    assert reply.headers["x-request-id"] in said
    assert "ZeroDivisionError" not in reply.text
    logged = capfd.readouterr().err
    assert "ZeroDivisionError" in logged
    assert reply.headers["x-request-id"] in logged


def test_errors_of_the_store_name_no_path(start: Any, service: Any, home: Any) -> None:
    server = start(service.state())
    home.engine.dispose()
    home.root.joinpath("luthier.db").write_bytes(b"no database at all" * 1000)
    reply = server.client.get("/v1/models")
    assert error_of(reply, 503)["code"] == "store_unavailable"
    assert str(home.root) not in reply.text


def test_without_keys_only_this_machine_is_answered(server: Any) -> None:
    assert server.client.get("/v1/models", headers={"authorization": "Bearer whatever"}).status_code == 200
    for header in ({"host": "evil.example"}, {"origin": "https://evil.example"}, {"origin": "null"}):
        assert error_of(server.client.get("/v1/models", headers=header), 403)["code"] == "not_local"
    assert server.client.get("/v1/models", headers={"origin": server.url}).status_code == 200


def test_with_keys_one_must_be_shown(server: Any, home: Any) -> None:
    key, secret = keys.create(home, "laptop")
    shown = {"authorization": f"Bearer {secret}"}
    refused = server.client.get("/v1/models")
    assert error_of(refused, 401)["code"] == "invalid_api_key"
    assert refused.headers["www-authenticate"] == "Bearer"
    error_of(server.client.get("/v1/models", headers={"authorization": f"Bearer {secret}x"}), 401)
    assert server.client.get("/v1/models", headers=shown).status_code == 200
    assert server.client.get("/health").status_code == 200
    keys.create(home, "other")
    keys.revoke(home, key.id)
    error_of(server.client.get("/v1/models", headers=shown), 401)


def test_a_server_that_others_reach_demands_a_key_even_if_there_is_none(start: Any, service: Any) -> None:
    error_of(start(service.state(local_only=False)).client.get("/v1/models"), 401)
