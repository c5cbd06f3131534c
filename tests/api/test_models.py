"""Names that can be asked for, over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from registering import register, tuned

from luthier.registry import aliases
from luthier.store import Home


@pytest.fixture
def server(start: Any, service: Any) -> Any:
    return start(service.state())


def test_all_names_are_listed_and_each_is_found(server: Any, home: Home, tmp_path: Path) -> None:
    register(home, tmp_path / "adapter")
    aliases.promote(home, register(home, tmp_path / "adapter"), "production", "")
    tuned(home, "ft:tiny-llama:me:tickets:7", "tickets@1")
    listed = server.client.get("/v1/models").json()
    names = {entry["id"] for entry in listed["data"]}
    assert names == {"tiny-llama", "tiny-bert", "tickets", "tickets@1", "tickets@2", "tickets@production",
                     "ft:tiny-llama:me:tickets:7"}  # fmt: skip
    means = {name: server.client.get(f"/v1/models/{name}").json()["luthier_version"] for name in names}
    assert means["tickets"] == means["tickets@production"] == "tickets@2"
    assert means["ft:tiny-llama:me:tickets:7"] == "tickets@1"
    assert means["tiny-bert"] == "tiny-bert"


def test_a_moved_alias_leads_elsewhere_at_once(server: Any, home: Home, tmp_path: Path) -> None:
    first, second = register(home, tmp_path / "adapter"), register(home, tmp_path / "adapter")
    for ref in (first, second, first):
        aliases.promote(home, ref, "production", "")
        assert server.client.get("/v1/models/production").json()["luthier_version"] == ref


def test_names_that_lead_nowhere(server: Any, home: Home, tmp_path: Path) -> None:
    for name in ("tickets", "tickets@9", "/etc/passwd", "..%2F..%2Fetc", "owner/name", str(tmp_path)):
        reply = server.client.get(f"/v1/models/{name}")
        assert reply.status_code == 404, name
        assert reply.json()["error"]["code"] == "model_not_found"
    for name in ("tickets", "intents"):
        aliases.promote(home, register(home, tmp_path / "adapter", name), "production", "")
    assert "several models" in server.client.get("/v1/models/production").json()["error"]["message"]


def test_models_are_not_deleted(server: Any) -> None:
    reply = server.client.delete("/v1/models/tiny-llama")
    assert reply.status_code == 403
    assert reply.json()["error"]["code"] == "cannot_delete"
