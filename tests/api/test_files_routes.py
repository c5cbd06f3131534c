"""Files, over a port of this machine, through an unmodified OpenAI client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from gateway import Service

from luthier.api.routes import files
from luthier.api.sent_files import PURPOSES
from luthier.store import Home, uploads

ROWS = b'{"prompt": "a", "completion": "b"}\n' * 9


@pytest.fixture
def client(start: Callable[..., Any], home: Home) -> Iterator[openai.OpenAI]:
    url = start(Service(home, {}, {}).state()).url
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", _strict_response_validation=True) as client:
        yield client


def put(client: openai.OpenAI, name: str = "rows.jsonl", content: bytes = ROWS, **settings: Any) -> Any:
    return client.files.create(file=(name, content), **{"purpose": "fine-tune", **settings})


def test_a_file_comes_back_as_it_was_sent(client: openai.OpenAI) -> None:
    file = put(client)
    assert (file.bytes, file.filename, file.purpose, file.status) == (len(ROWS), "rows.jsonl", "fine-tune", "processed")
    assert abs(file.created_at - time.time()) < 5
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).content == ROWS
    with client.files.with_streaming_response.content(file.id) as response:
        assert b"".join(response.iter_bytes(chunk_size=7)) == ROWS
    assert client.files.wait_for_processing(file.id) == file


def test_names_lose_their_folders_and_keep_their_letters(client: openai.OpenAI) -> None:
    file = put(client, name="../../größer v2.jsonl")
    assert file.filename == "größer v2.jsonl"
    assert "gr%C3%B6%C3%9Fer%20v2.jsonl" in client.files.content(file.id).response.headers["content-disposition"]


def test_a_deleted_file_is_gone(client: openai.OpenAI) -> None:
    file = put(client)
    assert client.files.delete(file.id).deleted
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError, match=file.id):
            call(file.id)


def test_the_client_pages_through_all_files(client: openai.OpenAI) -> None:
    sent = [put(client, f"{i}.jsonl", purpose="batch" if i == 2 else "fine-tune").id for i in range(5)]
    assert [file.id for file in client.files.list(limit=2)] == sent[::-1]
    assert [file.id for file in client.files.list(limit=2, order="asc")] == sent
    assert [file.id for file in client.files.list(purpose="batch")] == [sent[2]]
    assert not list(client.files.list(purpose="vision"))
    for wrong in ({"limit": 0}, {"limit": 10_001}, {"order": "up"}):
        with pytest.raises(openai.BadRequestError):
            client.files.list(**wrong)  # type: ignore[arg-type]


def test_files_expire_when_asked_to(client: openai.OpenAI) -> None:
    file = put(client, expires_after={"anchor": "created_at", "seconds": 3600})
    assert file.expires_at == pytest.approx(file.created_at + 3600, abs=1)
    assert put(client, "other.jsonl").expires_at is None
    for wrong in ({"anchor": "created_at", "seconds": 3599}, {"anchor": "created_at", "seconds": 2592001},
                  {"anchor": "last_used", "seconds": 3600}):  # fmt: skip
        with pytest.raises(openai.BadRequestError) as caught:
            put(client, expires_after=wrong)
        assert "expires_after" in str(caught.value.param)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_every_purpose_is_kept_and_none_surprises_a_strict_client(
    client: openai.OpenAI, home: Home, purpose: str
) -> None:
    file = put(client, purpose=purpose)
    assert uploads.get(home, file.id).purpose == file.luthier_purpose == purpose


def test_what_is_no_file_is_refused(client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(openai.BadRequestError, match="empty"):
        put(client, content=b"")
    with pytest.raises(openai.BadRequestError, match="'nonsense' is no purpose"):
        put(client, purpose="nonsense")
    with pytest.raises(openai.BadRequestError, match="missing"):
        client.post("/files", cast_to=object, body={"purpose": "fine-tune"})
    monkeypatch.setattr(files, "FILE_BYTES", 100)
    with pytest.raises(openai.APIStatusError) as caught:
        put(client)
    assert caught.value.status_code == 413
    assert not list(client.files.list())


def test_a_retried_upload_is_one_file(client: openai.OpenAI) -> None:
    first = put(client)
    again = put(client, extra_headers={"x-stainless-retry-count": "1"})
    assert (again.id, put(client).id == first.id) == (first.id, False)


def test_nothing_is_left_beside_the_blobs(client: openai.OpenAI, home: Home) -> None:
    put(client)
    assert not list(home.cache("uploads").iterdir())
