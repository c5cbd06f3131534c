"""`luthier keys`, and what `up` and `serve` refuse before they load anything."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from registering import register

from luthier.cli import main
from luthier.cli.up import default_model
from luthier.registry import aliases
from luthier.store import Home, keys


def test_a_key_is_made_shown_once_and_revoked(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "list"]) == 0
    assert "no keys" in capsys.readouterr().out
    assert main(["keys", "create", "laptop", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["key"].startswith("lk-")
    assert len(made["key"]) > 43
    assert keys.live(home) == {keys.digest(made["key"]): made["id"]}
    assert made["key"] not in home.root.joinpath("luthier.db").read_bytes().decode("latin-1")
    main(["keys", "list", "--json"])
    listed = capsys.readouterr().out
    assert made["key"] not in listed
    assert json.loads(listed)["keys"][0]["name"] == "laptop"
    assert main(["keys", "revoke", "laptop"]) == 0
    assert keys.live(home) == {}
    assert main(["keys", "revoke", "laptop"]) == 2
    assert "no live key is called 'laptop'" in capsys.readouterr().err


def test_two_keys_of_one_name_are_revoked_by_id(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (keys.create(home, "laptop")[0] for _ in range(2))
    assert main(["keys", "revoke", "laptop"]) == 2
    assert "several keys" in capsys.readouterr().err
    assert main(["keys", "revoke", second.id]) == 0
    assert list(keys.live(home).values()) == [first.id]


@pytest.mark.parametrize("verb", ["up", "serve"])
def test_where_it_cannot_listen_it_says_how_to_mend_it(
    home: Home, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    assert main([verb, "--host", "0.0.0.0"]) == 2
    assert "luthier keys create" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main([verb, "--port", str(taken.getsockname()[1])]) == 2
    assert "is taken" in capsys.readouterr().err


def test_up_takes_the_newest_alias_else_the_newest_version_else_the_packaged_model(home: Home, tmp_path: Path) -> None:
    assert default_model() == "smollm2-135m-instruct"
    register(home, tmp_path / "adapter")
    register(home, tmp_path / "adapter", "intents")
    assert default_model() == "intents@1"
    aliases.promote(home, "tickets@1", "production", "")
    assert default_model() == "tickets@production"
