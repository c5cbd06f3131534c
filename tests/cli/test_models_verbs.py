"""`luthier models` over a real registry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.cli import main
from luthier.registry import versions
from luthier.store import Home, datasets, runs


@pytest.fixture
def two_versions(home: Home, tmp_path: Path) -> None:
    """tickets@1 and tickets@2, from two runs on one dataset version that has a parent."""
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    for version, parents in (("ds-1", []), ("ds-2", ["ds-1", "ds-lost"])):
        datasets.add(home, version, {"parents": parents}, "00")
    for _ in range(2):
        row = runs.create(home, name="tickets", recipe={}, recipe_sha256="ab", command="luthier run r.yaml")
        versions.register(
            home,
            name="tickets",
            run_id=row.id,
            base={"name": "smollm2-135m-instruct"},
            adapter_folder=adapter,
            recipe_sha256="ab",
            dataset_version="ds-2",
            scores={},
            card="# tickets",
            lineage={"merge_logit_difference": 1e-6},
        )


def test_an_empty_registry_says_how_to_begin(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    assert "luthier run RECIPE" in capsys.readouterr().out


def test_promote_list_rollback(two_versions: None, capsys: pytest.CaptureFixture[str]) -> None:
    for version in (1, 2):
        assert main(["models", "promote", f"tickets@{version}", "production", "--reason", "measured"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "tickets@production now points at tickets@1",
        "tickets@production now points at tickets@2 (before: tickets@1)",
    ]
    main(["models", "list"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[:2] for row in rows[1:]] == [["tickets@2", "production"], ["tickets@1", rows[2][-1]]]
    assert main(["models", "rollback", "production", "--json"]) == 0
    move = json.loads(capsys.readouterr().out)
    assert (move["version"], move["kind"], move["before"]) == (1, "rollback", 2)
    main(["models", "lineage", "tickets@1"])
    last = [line.split()[2:] for line in capsys.readouterr().out.splitlines()[-2:]]
    assert last == [["production", "promote", "measured"], ["production", "rollback"]]


def test_a_model_that_is_not_there_is_no_empty_list(two_versions: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "intents"]) == 2
    assert "no model is called 'intents'. The models of this home: tickets" in capsys.readouterr().err


def test_going_back_past_the_first_is_wrong_input(two_versions: None, capsys) -> None:
    main(["models", "promote", "tickets@1", "production"])
    assert main(["models", "rollback", "production"]) == 2
    assert "luthier models promote" in capsys.readouterr().err


def test_show_prints_the_card(two_versions: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "tickets"]) == 0
    assert capsys.readouterr().out == "# tickets\n"
    main(["models", "show", "tickets@1", "--json"])
    assert json.loads(capsys.readouterr().out)["model"] == "tickets@1"


def test_lineage_names_every_ancestor(two_versions: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "lineage", "tickets@2"]) == 0
    out = capsys.readouterr().out
    assert "smollm2-135m-instruct" in out
    assert "\ndata       ds-2\ndata         ds-1\ndata         ds-lost (not in this home)\n" in out
    assert "merge_logit_difference  1e-06" in out
    assert "Aliases" not in out
