"""Vectors over HTTP, as lists and as base64."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from luthier.store import traces


@pytest.fixture
def server(start: Any, service: Any) -> Any:
    return start(service.state())


def ask(server: Any, **body: Any) -> Any:
    return server.client.post("/v1/embeddings", json={"model": "tiny-bert", **body})


def test_each_input_has_a_vector(server: Any, service: Any) -> None:
    found = ask(server, input=["a violin", "a cello"]).json()
    assert [entry["index"] for entry in found["data"]] == [0, 1]
    assert found["data"][0]["embedding"] == [0.6, 0.8]
    assert found["usage"] == {"prompt_tokens": 8, "total_tokens": 8}  # [CLS] and [SEP] count


def test_base64_is_little_endian_float32(server: Any) -> None:
    found = ask(server, input="a violin", encoding_format="base64").json()["data"][0]["embedding"]
    assert struct.unpack("<2f", base64.b64decode(found)) == pytest.approx((0.6, 0.8))


@pytest.mark.parametrize("given", [[2, 40, 3], [[2, 40, 3]]])
def test_token_ids_are_taken_as_they_are(server: Any, given: list[Any]) -> None:
    assert ask(server, input=given).json()["usage"]["prompt_tokens"] == 3


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", 3]}, "input"),
        ({"input": [10**9]}, "input"),
        ({"input": [-1]}, "input"),
        ({"input": "violin " * 600}, "input"),
        ({"input": "a", "dimensions": 1}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "colour": 1}, "colour"),
        ({"input": "a", "model": "tiny-llama"}, "model"),
    ],
)
def test_what_cannot_be_embedded_is_named(server: Any, body: dict[str, Any], param: str) -> None:
    reply = ask(server, **body)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param


def test_the_width_of_the_model_may_be_asked_for(server: Any) -> None:
    assert ask(server, input="a", dimensions=2).status_code == 200


def test_each_request_leaves_a_trace(start: Any, service: Any, home: Any) -> None:
    server = start(service.state())
    ask(server, input="a violin")
    ask(server, input="", model="tiny-bert")
    server.stop()
    refused, answered = traces.newest(home, 10)
    assert (answered.route, answered.served, answered.status) == ("embeddings", "tiny-bert", 200)
    assert answered.request["input"] == "a violin"
    assert (refused.status, refused.served, refused.answer) == (400, "", None)
