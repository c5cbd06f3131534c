"""Versions and aliases: numbering, references, lineage, promotion and the way back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import NotFound, StoreError
from luthier.registry import aliases, versions
from luthier.registry.versions import ModelVersion
from luthier.store import Home, datasets, runs


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    return folder


def register(home: Home, adapter: Path, name: str = "tickets", **values: Any) -> ModelVersion:
    datasets.add(home, "ds-old", {"parents": ["ds-lost"]}, "t0")
    datasets.add(home, "ds-new", {"parents": ["ds-old"]}, "t1")
    given = {
        "name": name,
        "base": {"name": "smollm2", "sha256": "abc"},
        "adapter_folder": adapter,
        "recipe_sha256": "sha",
        "dataset_version": "ds-new",
        "scores": {"accuracy": {"value": 0.9}},
        "card": "# card",
        "lineage": {"merge_logit_difference": 1e-6},
    } | values
    if "run_id" not in given:
        run = runs.create(home, name=name, recipe={}, recipe_sha256="sha", command="luthier run a.yaml")
        given["run_id"] = run.id
    return versions.register(home, **given)


def test_a_version_keeps_what_it_was_given_and_its_adapter(home: Home, adapter: Path, tmp_path: Path) -> None:
    version = register(home, adapter)
    assert (version.ref, version.card, version.scores) == (
        "tickets@1",
        "# card",
        {"accuracy": {"value": 0.9}},
    )
    assert versions.get(home, "tickets@1") == version
    copy = home.blobs.get_tree(version.adapter_sha256, tmp_path / "copy")
    assert (copy / "adapter_config.json").read_text() == "{}"


def test_a_run_has_one_version(home: Home, adapter: Path) -> None:
    first = register(home, adapter)
    assert register(home, adapter, run_id=first.run_id, card="another") == first
    assert register(home, adapter).version == 2
    assert versions.list_versions(home)[-1] == first


def test_threads_that_register_one_run_get_one_version(home: Home, adapter: Path) -> None:
    run_id = runs.create(home, name="tickets", recipe={}, recipe_sha256="sha", command="").id
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: register(home, adapter, run_id=run_id).ref, range(8)))
    assert found == {"tickets@1"}


def test_numbers_count_per_name(home: Home, adapter: Path) -> None:
    made = [register(home, adapter, name).ref for name in ("tickets", "intents", "tickets")]
    assert made == ["tickets@1", "intents@1", "tickets@2"]
    assert [v.ref for v in versions.list_versions(home)] == ["intents@1", "tickets@2", "tickets@1"]
    assert [v.ref for v in versions.list_versions(home, "tickets")] == ["tickets@2", "tickets@1"]


def test_what_a_version_comes_from_must_be_in_the_home(home: Home, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no run"):
        register(home, adapter, run_id="x")
    with pytest.raises(NotFound, match="no dataset version"):
        register(home, adapter, dataset_version="ds-other")
    with pytest.raises(StoreError, match="holds no file"):
        register(home, tmp_path / "nothing")
    with pytest.raises(StoreError, match="'a@b' cannot be a model name"):
        register(home, adapter, "a@b")
    assert versions.list_versions(home) == []


def test_every_form_of_a_reference(home: Home, adapter: Path) -> None:
    for _ in range(3):
        register(home, adapter)
    aliases.promote(home, "tickets@2", "production", "better")
    found = {
        ref: versions.get(home, ref).version for ref in ("tickets@1", "tickets@production", "tickets", "production")
    }
    assert found == {"tickets@1": 1, "tickets@production": 2, "tickets": 3, "production": 2}
    for ref in ("tickets@4", "tickets@staging", "other", "other@1", "", "@", "@production", "tickets@"):
        with pytest.raises(NotFound, match=r"There are tickets@3, tickets@2, tickets@1"):
            versions.get(home, ref)


def test_an_empty_registry_says_so(home: Home) -> None:
    with pytest.raises(NotFound, match="No model is registered"):
        versions.get(home, "tickets")


def test_an_alias_belongs_to_its_model(home: Home, adapter: Path) -> None:
    for name in ("tickets", "intents"):
        register(home, adapter, name)
        aliases.promote(home, name, "production", "")
    assert versions.get(home, "intents@production").ref == "intents@1"
    for call in (versions.get, aliases.rollback):
        with pytest.raises(NotFound, match="Write one of intents@production, tickets@production"):
            call(home, "production")


def test_going_back_follows_the_history(home: Home, adapter: Path) -> None:
    for number in (1, 2, 3):
        register(home, adapter)
        aliases.promote(home, f"tickets@{number}", "production", f"run {number}")
    aliases.promote(home, "tickets@3", "production", "again")
    assert [aliases.rollback(home, "production").version for _ in range(2)] == [2, 1]
    with pytest.raises(StoreError, match="tickets@production: there is nothing to go back to: tickets@1"):
        aliases.rollback(home, "tickets@production")
    aliases.promote(home, "tickets@3", "production", "mended")
    assert aliases.rollback(home, "tickets@production", "slow").version == 1
    moves = [(move.kind, move.version, move.reason) for move in aliases.history(home, "production")]
    assert moves == [
        ("promote", 1, "run 1"),
        ("promote", 2, "run 2"),
        ("promote", 3, "run 3"),
        ("promote", 3, "again"),
        ("rollback", 2, ""),
        ("rollback", 1, ""),
        ("promote", 3, "mended"),
        ("rollback", 1, "slow"),
    ]
    assert aliases.current(home) == {"tickets@production": 1}


def test_an_alias_must_be_a_word_and_its_version_be_there(home: Home, adapter: Path) -> None:
    register(home, adapter)
    for alias in ("a b", "a@b", ""):
        with pytest.raises(StoreError, match="cannot be an alias"):
            aliases.promote(home, "tickets", alias, "")
    with pytest.raises(StoreError, match="would read as a version number"):
        aliases.promote(home, "tickets", "3", "")
    with pytest.raises(NotFound):
        aliases.promote(home, "tickets@9", "production", "")
    with pytest.raises(NotFound, match="there is no alias 'production'"):
        aliases.rollback(home, "production")
    assert aliases.history(home) == []


def test_lineage_leads_back_to_the_first_data(home: Home, adapter: Path) -> None:
    version = register(home, adapter)
    tree = versions.lineage(home, "tickets")
    assert tree["model"] == "tickets@1"
    assert tree["base"] == {"name": "smollm2", "sha256": "abc"}
    assert tree["run"]["id"] == version.run_id
    assert tree["run"]["command"] == "luthier run a.yaml"
    assert tree["adapter"] == {"sha256": version.adapter_sha256}
    assert tree["recorded"] == {"merge_logit_difference": 1e-6}
    old = tree["dataset"]["parents"][0]
    assert (tree["dataset"]["id"], old["id"]) == ("ds-new", "ds-old")
    assert old["parents"] == [{"id": "ds-lost", "missing": True, "parents": []}]


def test_a_promotion_over_what_was_seen_is_made_once(home: Home, adapter: Path) -> None:
    for _ in range(3):
        register(home, adapter)
    assert aliases.promote_over(home, "tickets@1", "production", "run 1", None)
    assert not aliases.promote_over(home, "tickets@2", "production", "run 2", None), "1 is in service by now"
    assert aliases.promote_over(home, "tickets@2", "production", "run 2", 1)
    assert aliases.promote_over(home, "tickets@2", "production", "run 2", 1), "again, after a kill"
    aliases.rollback(home, "tickets@production")
    assert aliases.promote_over(home, "tickets@2", "production", "run 2", 1)
    assert aliases.current(home) == {"tickets@production": 1}, "what was taken back is not promoted by a resume"
    assert [move.version for move in aliases.history(home)] == [1, 2, 1]
    assert not aliases.promote_over(home, "tickets@3", "production", "run 3", 2)


def test_of_two_promotions_over_the_same_version_one_wins(home: Home, adapter: Path) -> None:
    for _ in range(8):
        register(home, adapter)
    aliases.promote(home, "tickets@1", "production", "")

    def promote(number: int) -> bool:
        return aliases.promote_over(home, f"tickets@{number}", "production", f"run {number}", 1)

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(promote, range(2, 9))) == 1
    assert len(aliases.history(home)) == 2
