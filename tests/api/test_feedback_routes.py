"""Feedback over HTTP: stored once, however often it is sent; refused in one shape; listed and taken back."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest
from traces import chat_trace

from luthier.api.routes import feedback as route


@pytest.fixture
def client(start: Any, service: Any, home: Any) -> httpx.Client:
    chat_trace(home, "chatcmpl-1", "how much?", "3 euros", "4 euros")
    return start(service.state()).client


def said(kind: str = "rating", value: Any = "up", **more: Any) -> dict[str, Any]:
    return {"trace_id": "chatcmpl-1", "kind": kind, "value": value, **more}


def test_feedback_is_stored_once_and_read_back(client: httpx.Client) -> None:
    first = client.post("/v1/feedback", json=said(rater="ana", comment="right"))
    assert first.status_code == 200
    body = first.json()
    assert body.keys() == {
        "id", "object", "created_at", "trace_id", "kind", "value", "rater", "comment", "review",
    }  # fmt: skip
    assert (body["object"], body["value"], body["review"]) == ("feedback", {"rating": "up", "index": 0}, None)
    assert isinstance(body["created_at"], int)
    assert client.post("/v1/feedback", json=said(rater="ana", comment="right")).json() == body
    assert client.get(f"/v1/feedback/{body['id']}").json() == body
    assert client.get("/v1/feedback").json() == {
        "object": "list", "data": [body], "has_more": False, "first_id": body["id"], "last_id": body["id"],
    }  # fmt: skip
    gone = client.delete(f"/v1/feedback/{body['id']}")
    assert gone.json() == {"id": body["id"], "object": "feedback.deleted", "deleted": True}
    assert client.delete(f"/v1/feedback/{body['id']}").status_code == 404
    assert client.get("/v1/feedback").json()["data"] == []


def test_several_are_stored_together_or_not_at_all(client: httpx.Client) -> None:
    both = [said("label", "money"), said("choice", {"chosen": 1, "rejected": 0})]
    stored = client.post("/v1/feedback", json={"feedback": both}).json()
    assert [one["kind"] for one in stored["data"]] == ["label", "choice"]
    refused = client.post("/v1/feedback", json={"feedback": [said(), said(value="good")]})
    assert refused.status_code == 400
    assert refused.json()["error"] == {
        "message": "'good' is no rating. Give `up`, `down`, or a number from 1 to 5.",
        "type": "invalid_request_error", "param": "feedback.1.value", "code": None,
    }  # fmt: skip
    assert client.post("/v1/feedback", json={"feedback": both, "more": 1}).json()["error"]["param"] == "feedback"
    listed = client.get("/v1/feedback", params={"limit": 1}).json()
    assert (len(listed["data"]), listed["has_more"]) == (1, True)
    rest = client.get("/v1/feedback", params={"after": listed["last_id"]}).json()
    assert (rest["data"][0]["kind"], rest["has_more"]) == ("label", False)
    assert client.get("/v1/feedback", params={"kind": "rating"}).json()["data"] == []
    assert client.get("/v1/feedback", params={"trace_id": "chatcmpl-2"}).json()["data"] == []


@pytest.mark.parametrize(
    ("query", "param"), [({"kind": "stars"}, "kind"), ({"limit": 0}, "limit"), ({"limit": "x"}, "limit")]
)
def test_queries_are_checked(client: httpx.Client, query: dict[str, Any], param: str) -> None:
    refused = client.get("/v1/feedback", params=query)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == param


def test_an_id_with_other_content_is_refused(client: httpx.Client) -> None:
    assert client.post("/v1/feedback", json=said(id="own-1")).status_code == 200
    refused = client.post("/v1/feedback", json=said(id="own-1", value="down"))
    assert refused.status_code == 400
    assert "there is other feedback with the id 'own-1'" in refused.json()["error"]["message"]


def test_a_trace_that_is_not_written_yet_is_waited_for(
    client: httpx.Client, home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "PATIENCE_SECONDS", 0.1)
    gone = client.post("/v1/feedback", json=said() | {"trace_id": "chatcmpl-2"})
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "not_found")
    monkeypatch.setattr(route, "PATIENCE_SECONDS", 5)
    later = threading.Timer(0.1, chat_trace, (home, "chatcmpl-2", "how much?", "3 euros"))
    later.start()
    assert client.post("/v1/feedback", json=said() | {"trace_id": "chatcmpl-2"}).status_code == 200
    later.join()


def test_what_people_write_is_redacted_as_traces_are(start: Any, service: Any, home: Any) -> None:
    chat_trace(home, "chatcmpl-1", "how much?", "3 euros")
    service.redaction = "patterns"
    body = said("correction", "write to ana@example.org", rater="ana@example.org", comment="I am ana@example.org")
    stored = start(service.state()).client.post("/v1/feedback", json=body).json()
    assert stored["value"]["message"]["content"] == "write to [email]"
    assert (stored["comment"], stored["rater"]) == ("I am [email]", "ana@example.org")
