"""From feedback to promotion: what each step leaves, and that being killed anywhere changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from traces import chat_trace

from luthier.data import version
from luthier.data.pipeline import prepare
from luthier.errors import RecipeError, StoreError
from luthier.feedback.curate import Wishes
from luthier.feedback.receive import receive
from luthier.jobs import cycle as module
from luthier.jobs.cycle import cycle
from luthier.jobs.reporting import Silent
from luthier.jobs.run import command_of
from luthier.recipe import load, resolve_paths
from luthier.registry import aliases, versions
from luthier.store import Home, feedback, runs
from luthier.store.files import Lock, write_json

CHATS = [{"prompt": f"what does bridge {i} cost?", "completion": f"{i % 3} euros"} for i in range(40)]


class Runs:
    """Stands in for `luthier run`: prepares the data, and gives the verdicts it was told, in order."""

    def __init__(self, *verdicts: str) -> None:
        self.verdicts, self.recipes = list(verdicts), []

    def __call__(self, path: Path, overrides: Any, home: Home, reporter: Any) -> dict[str, Any]:
        loaded = load(path)
        recipe = resolve_paths(loaded.recipe, loaded.base)
        self.recipes.append(recipe)
        data = version.write(home, prepare(recipe, loaded.base, home=home), recipe)
        return finished(home, recipe, command_of(path), data.id, self.verdicts.pop(0))


def finished(home: Home, recipe: Any, command: str, dataset: str, verdict: str) -> dict[str, Any]:
    """A run that has ended, with a version of its own and its alias where it belongs."""
    row = runs.create(home, name=recipe.name, recipe=recipe.to_plain(), recipe_sha256="0" * 64, command=command)
    adapter = home.root / "adapter"
    write_json(adapter / "adapter_config.json", {"run": row.id})
    new = versions.register(
        home, name=recipe.name, run_id=row.id, base={"name": "tiny", "sha256": "0"}, adapter_folder=adapter,
        recipe_sha256="0", dataset_version=dataset, scores={}, card="", lineage={},
    )  # fmt: skip
    document = {"run_id": row.id, "model": new.ref, "verdict": verdict, "metric": "exact_match", "solvers": {},
                "deltas": {"in_service": {"exact_match": {"value": 0.1}}}, "reasons": ["because"], "next": [],
                "report": "report.html"}  # fmt: skip
    if verdict == "ship":
        aliases.promote_over(
            home, new.ref, "production", f"run {row.id}", aliases.current(home).get("bridges@production")
        )
        document["alias"] = "production"
    runs.set_status(home, row.id, "running")
    runs.finish(home, row.id, document)
    return document


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in CHATS))
    plain = {"name": "bridges", "base_model": "tiny", "data": "rows.jsonl", "objective": "sft"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(plain))
    return tmp_path / "recipe.yaml"


@pytest.fixture
def first(home: Home, path: Path) -> dict[str, Any]:
    """A version in service, from an ordinary run."""
    loaded = load(path)
    recipe = resolve_paths(loaded.recipe, loaded.base)
    data = version.write(home, prepare(recipe, loaded.base), recipe)
    return finished(home, recipe, "luthier run", data.id, "ship")


def correct(home: Home, *names: str, served: str = "bridges@1") -> None:
    for name in names:
        chat_trace(home, name, f"what does a {name} cost?", "ask the luthier", served=served)
        receive(home, [{"trace_id": name, "kind": "correction", "value": "9 euros", "rater": "ana"}])


def use(monkeypatch: pytest.MonkeyPatch, *verdicts: str) -> Runs:
    found = Runs(*verdicts)
    monkeypatch.setattr(module, "run", found)
    return found


def test_nothing_said_is_nothing_done(home: Home, path: Path, first, monkeypatch) -> None:
    use(monkeypatch)
    document = cycle(path, (), home)
    assert (document["outcome"], document["cycles"], document["in_service"]) == ("nothing_new", 0, "bridges@1")
    assert not list((home.root / "cycles").rglob("plan.json"))


def test_a_cycle_adds_rows_and_keeps_the_held_out_ones(home: Home, path: Path, first, monkeypatch) -> None:
    started = use(monkeypatch, "ship")
    correct(home, "bridge", "post")
    held = versions.get(home, "bridges@1").dataset_version
    document = cycle(path, (), home)
    assert (document["outcome"], document["before"], document["version"]) == ("promoted", "bridges@1", "bridges@2")
    assert document["feedback"] == {"total": 2, "new": 2, "used": 2, "left": {}}
    assert document["undo"] == "luthier models rollback bridges@production"
    assert document["in_service"] == "bridges@2"
    (recipe,) = started.recipes
    assert recipe.evaluate.baselines[-1] == "in_service"
    data = versions.get(home, "bridges@2").dataset_version
    for split in ("validation", "test"):
        assert version.read(home, data, split) == version.read(home, held, split)
    train = version.read(home, data, "train")
    assert {row.row_id for row in train} - {row.row_id for row in version.read(home, held, "train")} == {
        "feedback:bridge", "feedback:post",
    }  # fmt: skip
    lineage = version.get(home, document["dataset"]).manifest["parents"]
    assert lineage == [held]
    assert cycle(path, (), home)["outcome"] == "nothing_new"
    assert [move.version for move in aliases.history(home, "bridges@production")] == [1, 2]


def test_later_cycles_learn_all_feedback_again(home: Home, path: Path, first, monkeypatch) -> None:
    use(monkeypatch, "hold", "ship")
    correct(home, "bridge")
    held_back = cycle(path, (), home)
    assert (held_back["outcome"], held_back["in_service"], held_back["undo"]) == ("held", "bridges@1", None)
    correct(home, "post")
    document = cycle(path, (), home)
    assert (document["cycle"], document["outcome"], document["rows"]) == (2, "promoted", 2)
    assert document["feedback"] == {"total": 2, "new": 1, "used": 2, "left": {}}


def test_feedback_that_teaches_nothing_new_starts_no_run(home: Home, path: Path, first, monkeypatch) -> None:
    started = use(monkeypatch, "hold")
    chat_trace(home, "c1", "what does a post cost?", "ask the luthier")
    receive(home, [{"trace_id": "c1", "kind": "rating", "value": "down"}])
    document = cycle(path, (), home)
    assert (document["outcome"], document["dataset"]) == ("nothing_learnt", None)
    assert document["feedback"]["left"] == {"rated low, and nobody says what is right": 1}
    receive(home, [{"trace_id": "c1", "kind": "correction", "value": "9 euros", "rater": "ana"}])
    assert cycle(path, (), home)["outcome"] == "held"
    receive(home, [{"trace_id": "c1", "kind": "rating", "value": "down", "rater": "ben"}])
    again = cycle(path, (), home)
    assert (again["outcome"], again["cycle"], again["rows"]) == ("nothing_learnt", 3, 1)
    assert len(started.recipes) == 1


def test_without_a_version_in_service_the_base_models_answers_count(home: Home, path: Path, monkeypatch) -> None:
    started = use(monkeypatch, "ship")
    correct(home, "bridge", served="tiny")
    document = cycle(path, (), home)
    assert (document["outcome"], document["before"], document["undo"]) == ("promoted", None, None)
    assert "in_service" not in started.recipes[0].evaluate.baselines
    data = versions.get(home, "bridges@1").dataset_version
    assert "feedback:bridge" in {row.row_id for row in version.read(home, data, "train")}


class Killed(BaseException):
    """The end of the process."""


@pytest.mark.parametrize("killed_at", ["plan.json", "curated.json", "recipe.yaml", "run", "document.json"])
@pytest.mark.parametrize("before", [True, False])
def test_killed_anywhere_the_same_call_goes_on(
    home: Home, path: Path, first, monkeypatch, killed_at: str, before: bool
) -> None:
    started = use(monkeypatch, "ship")
    correct(home, "bridge")
    with monkeypatch.context() as patch:
        kill_at(patch, killed_at, before)
        with pytest.raises(Killed):
            cycle(path, (), home)
    document = cycle(path, (), home)
    finished_already = (killed_at, before) == ("document.json", False)
    assert document["outcome"] == ("nothing_new" if finished_already else "promoted")
    assert len(started.recipes) == 1
    assert [move.version for move in aliases.history(home, "bridges@production")] == [1, 2]
    assert [folder.name for folder in (home.root / "cycles" / "bridges@production").iterdir() if folder.is_dir()] == [
        "0001"]  # fmt: skip
    assert cycle(path, (), home)["outcome"] == "nothing_new"


def kill_at(patch: pytest.MonkeyPatch, what: str, before: bool) -> None:
    """End the process before or after one step."""

    def around(function: Any, is_it: Any) -> Any:
        def dying(*args: Any) -> Any:
            if before and is_it(args):
                raise Killed
            result = function(*args)
            if is_it(args):
                raise Killed
            return result

        return dying

    patch.setattr(module, "run", around(module.run, lambda args: what == "run"))
    patch.setattr(module, "write_plan", around(module.write_plan, lambda args: what == "plan.json"))
    for name in ("write_json", "write_atomic"):
        patch.setattr(module, name, around(getattr(module, name), lambda args: args[0].name == what))


def test_an_unfinished_cycle_begins_again_where_its_recipe_has_changed(home, path, first, monkeypatch) -> None:
    started = use(monkeypatch, "ship")
    correct(home, "bridge")
    with monkeypatch.context() as patch:
        kill_at(patch, "run", True)
        with pytest.raises(Killed):
            cycle(path, (), home)
    correct(home, "post")
    document = cycle(path, ("train.seed=7",), home)
    assert (document["cycle"], document["rows"], started.recipes[0].train.seed) == (1, 2, 7)


def test_feedback_that_comes_meanwhile_waits_for_the_next_cycle(home, path, first, monkeypatch) -> None:
    use(monkeypatch, "ship", "hold")
    correct(home, "bridge")
    with monkeypatch.context() as patch:
        kill_at(patch, "curated.json", True)
        with pytest.raises(Killed):
            cycle(path, (), home)
    correct(home, "post")
    assert cycle(path, (), home)["rows"] == 1
    assert cycle(path, (), home)["rows"] == 2


def test_what_was_not_reviewed_waits(home: Home, path: Path, first, monkeypatch) -> None:
    use(monkeypatch, "hold")
    correct(home, "bridge")
    waiting = cycle(path, (), home, Silent(), Wishes(reviewed=True))
    assert (waiting["outcome"], waiting["feedback"]["left"]) == ("nothing_learnt", {"not reviewed yet": 1})
    (row,), _ = feedback.list_page(home)
    feedback.set_review(home, {row.id: "accepted"})
    assert cycle(path, (), home, Silent(), Wishes(reviewed=True))["outcome"] == "held"


def test_two_cycles_of_one_model_do_not_run_at_once(home: Home, path: Path, first) -> None:
    with Lock(home.root / "cycles" / "bridges@production" / "lock"), pytest.raises(StoreError):
        cycle(path, (), home)


def test_a_recipe_without_an_alias_is_refused(home: Home, path: Path) -> None:
    with pytest.raises(RecipeError, match=r"`ship.alias` is null"):
        cycle(path, ("ship.alias=null",), home)


def test_an_objective_without_feedback_is_refused_before_anything_is_trained(home, path, first, monkeypatch) -> None:
    use(monkeypatch)
    correct(home, "bridge")
    with pytest.raises(RecipeError, match="`pretrain` learns from plain text, and feedback has none"):
        cycle(path, ("objective=pretrain",), home)
    assert not (home.root / "cycles").exists()
