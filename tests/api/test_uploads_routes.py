"""Large files in parts, through an unmodified OpenAI client."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from gateway import Service

from luthier.store import Home, upload_parts

CONTENT = os.urandom(1000)


@pytest.fixture
def client(start: Callable[..., Any], home: Home) -> Iterator[openai.OpenAI]:
    url = start(Service(home, {}, {}).state()).url
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0, _strict_response_validation=True) as client:
        yield client


def begin(client: openai.OpenAI, size: int = len(CONTENT), **settings: Any) -> Any:
    given = {"bytes": size, "filename": "rows.jsonl", "mime_type": "text/jsonl", "purpose": "fine-tune", **settings}
    return client.uploads.create(**given)


def test_the_clients_helper_sends_a_file_in_chunks(client: openai.OpenAI, home: Home, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(CONTENT)
    done = client.uploads.upload_file_chunked(
        file=tmp_path / "rows.jsonl", mime_type="text/jsonl", purpose="fine-tune", part_size=300,
        md5=hashlib.md5(CONTENT).hexdigest(),
    )  # fmt: skip
    assert (done.status, done.bytes) == ("completed", 1000)
    assert done.file is not None
    assert client.files.content(done.file.id).content == CONTENT
    assert not list((home.root / "uploads").rglob("part_*"))
    assert not list((home.root / "uploads").rglob("whole"))


def test_the_order_is_that_of_the_ids(client: openai.OpenAI) -> None:
    upload = begin(client)
    second = client.uploads.parts.create(upload.id, data=CONTENT[400:])
    first = client.uploads.parts.create(upload.id, data=CONTENT[:400])
    assert (first.upload_id, first.object) == (upload.id, "upload.part")
    done = client.uploads.complete(upload.id, part_ids=[first.id, second.id])
    assert client.files.content(done.file.id).content == CONTENT  # type: ignore[union-attr]
    with pytest.raises(openai.BadRequestError, match="the upload is completed"):
        client.uploads.complete(upload.id, part_ids=[first.id, second.id])


def test_parts_that_are_not_what_was_announced_make_no_file(client: openai.OpenAI) -> None:
    upload = begin(client)
    part = client.uploads.parts.create(upload.id, data=CONTENT[:600])
    with pytest.raises(openai.BadRequestError, match="more than the 1000 bytes"):
        client.uploads.parts.create(upload.id, data=CONTENT[:600])
    with pytest.raises(openai.BadRequestError, match="600 bytes, and 1000 were announced"):
        client.uploads.complete(upload.id, part_ids=[part.id])
    for wrong in ("part_nosuch", "../upload.json", "upload.json"):
        with pytest.raises(openai.BadRequestError, match="no part"):
            client.uploads.complete(upload.id, part_ids=[wrong])
    rest = client.uploads.parts.create(upload.id, data=CONTENT[600:])
    with pytest.raises(openai.BadRequestError, match="md5"):
        client.uploads.complete(upload.id, part_ids=[part.id, rest.id], md5="0" * 32)
    assert client.files.list().data == []
    assert client.uploads.complete(upload.id, part_ids=[part.id, rest.id]).status == "completed"


def test_a_cancelled_or_expired_upload_takes_nothing(
    client: openai.OpenAI, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled = begin(client)
    client.uploads.parts.create(cancelled.id, data=CONTENT[:600])
    assert client.uploads.cancel(cancelled.id).status == "cancelled"
    monkeypatch.setattr(upload_parts, "OPEN_SECONDS", -1)
    expired = begin(client)
    for upload, state in ((cancelled, "cancelled"), (expired, "expired")):
        with pytest.raises(openai.BadRequestError, match=f"the upload is {state}"):
            client.uploads.parts.create(upload.id, data=CONTENT)
        with pytest.raises(openai.BadRequestError, match=f"the upload is {state}"):
            client.uploads.cancel(upload.id)
    assert not list((home.root / "uploads").rglob("part_*"))


@pytest.mark.parametrize(
    ("settings", "param"),
    [({"size": 0}, "bytes"), ({"size": 2**40}, "bytes"), ({"purpose": "x"}, "purpose"), ({"filename": ""}, "filename"),
     ({"expires_after": {"anchor": "created_at", "seconds": 1}}, "expires_after[seconds]")],
)  # fmt: skip
def test_a_wrong_announcement_names_the_field(client: openai.OpenAI, settings: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        begin(client, **settings)
    assert caught.value.param == param


@pytest.mark.parametrize("upload_id", ["upload_nosuch", "upload_000000000000000000000000", "%2e%2e%2fjobs"])
def test_an_unknown_upload_is_not_there(client: openai.OpenAI, home: Home, upload_id: str) -> None:
    with pytest.raises(openai.NotFoundError):
        client.uploads.parts.create(upload_id, data=b"x")
    with pytest.raises(openai.NotFoundError):
        client.uploads.cancel(upload_id)
    assert not (home.root / "uploads").exists()


def test_what_was_given_up_long_ago_is_cleared(client: openai.OpenAI, home: Home) -> None:
    old = begin(client)
    about = home.root / "uploads" / old.id / "upload.json"
    os.utime(about, (0, 0))
    begin(client)
    assert not about.parent.exists()
