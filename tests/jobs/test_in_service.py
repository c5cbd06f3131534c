"""The version in service as a rival: found when a run is planned, asked the same rows, and not overtaken unseen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from works import CHATS, classes, ready_of, recipe, work_of

from luthier.errors import RecipeError
from luthier.evaluate.classic import NotApplicable
from luthier.jobs.document import scores_part
from luthier.jobs.fit import fit
from luthier.jobs.in_service import askable, in_service, standing
from luthier.jobs.judge import answers_of, judge, test_rows
from luthier.jobs.work import _register
from luthier.jobs.workbench import Work
from luthier.jobs.workspace import write_plan
from luthier.registry import aliases, versions
from luthier.store import Home, datasets

test_rows.__test__ = False  # a name of the job, not a test
TRAIN = {"max_steps": 2, "batch_size": 4, "learning_rate": 1e-2, "rehearsal": 0}
EVALUATE = {"baselines": ["base", "in_service"], "forgetting": False, "max_new_tokens": 4}


def chats(folder: Path, model: Path, **sections: Any) -> Path:
    return recipe(folder, model, CHATS, **{"name": "bridges", "train": TRAIN, "evaluate": EVALUATE, **sections})


def serve(work: Work) -> str:
    """Train a run and put it into service."""
    datasets.add(work.home, "ds-test", {}, "")
    write_plan(work.folder, work.plan)
    fit(work, lambda: None)
    version = versions.register(
        work.home, name=str(work.recipe.name), run_id=work.plan.run_id, recipe_sha256="0",
        adapter_folder=work.folder / "adapter", base={"name": work.files.name, "sha256": work.files.sha256},
        dataset_version="ds-test", scores={}, card="", lineage={},
    )  # fmt: skip
    aliases.promote(work.home, version.ref, "production", "")
    return version.ref


@pytest.fixture(scope="module")
def served(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Home, Work]:
    folder = tmp_path_factory.mktemp("served")
    home = Home(folder / "home")
    work = work_of(ready_of(chats(folder, tiny_llama), home), home)
    serve(work)
    return folder, home, work


def next_work(served: tuple[Path, Home, Work], rival: str | None = "bridges@1") -> Work:
    folder, home, _ = served
    work = work_of(ready_of(folder / "recipe.yaml", home, "train.max_steps=3"), home)
    return replace(work, plan=replace(work.plan, in_service=rival))


def test_it_is_what_the_alias_points_at(served) -> None:
    _, home, work = served
    assert standing(home, work.recipe, work.files.sha256) == "bridges@1"
    others = [("name", "other"), ("ship", work.recipe.ship.model_copy(update={"alias": "beta"})),
              ("evaluate", work.recipe.evaluate.model_copy(update={"baselines": ("base",)}))]  # fmt: skip
    for key, value in others:
        assert standing(home, work.recipe.model_copy(update={key: value}), work.files.sha256) is None


def test_versions_that_answer_otherwise_are_refused(served, tiny_llama: Path, tiny_bert: Path, tmp_path: Path) -> None:
    _, home, work = served
    asked = {"name": "bridges", "evaluate": {"baselines": ["in_service"]}}
    other = ready_of(classes(tmp_path / "a", tiny_bert, **asked), home)
    with pytest.raises(RecipeError, match=r"bridges@1, which is in service, was trained with `sft`"):
        standing(home, other.recipe, other.files.sha256)
    nll = work.recipe.evaluate.model_copy(update={"metrics": ("exact_match", "nll")})
    assert standing(home, work.recipe.model_copy(update={"evaluate": nll}), work.files.sha256) == "bridges@1"
    with pytest.raises(RecipeError, match="has another base model"):
        standing(home, work.recipe.model_copy(update={"evaluate": nll}), "another")


def test_it_answers_as_its_own_run_did(served) -> None:
    work = next_work(served)
    tests = test_rows(work)
    own = answers_of(served[2], "tuned", tests, lambda done, total: None)
    assert answers_of(work, "in_service", tests, lambda done, total: None) == own


def test_it_is_compared_with_row_by_row(served) -> None:
    work = next_work(served)
    fit(work, lambda: None)
    part = scores_part(work, judge(work))
    assert part["deltas"].keys() == {"base", "in_service"}
    assert part["deltas"]["in_service"]["exact_match"]["n"] == len(test_rows(work))


def test_where_nothing_is_in_service_it_says_so(served) -> None:
    found = in_service(next_work(served, None))
    assert isinstance(found, NotApplicable)
    assert "no version of this model is in service" in found.reason


def test_labels_that_it_has_never_seen_do_not_matter(tiny_bert: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    first = work_of(ready_of(classes(tmp_path / "a", tiny_bert, name="topics"), home), home)
    serve(first)
    rows = [{"text": f"varnish number {i}", "label": "varnish"} for i in range(20)]
    rows += [json.loads(line) for line in (tmp_path / "a" / "rows.jsonl").read_text().splitlines()]
    asked = {"name": "topics", "evaluate": {"baselines": ["in_service"]}}
    work = work_of(ready_of(classes(tmp_path / "b", tiny_bert, rows, **asked), home), home)
    work = replace(work, plan=replace(work.plan, in_service="topics@1"))
    tests = test_rows(work)
    assert "varnish" in {row.label for row in tests}
    answers = answers_of(work, "in_service", tests, lambda done, total: None)
    assert {answer.label for answer in answers} <= {"wood", "money"}
    other = in_service(work)
    assert isinstance(other, Work)
    assert {row.label for row in askable(other, tests)} == {"money"}


def document() -> dict[str, Any]:
    return {"verdict": "ship", "next": [], "hardest": [], "lineage": {}, "tuned": {}, "reasons": []}


def test_a_verdict_against_what_is_not_in_service_any_more_holds(served) -> None:
    work = next_work(served)
    fit(work, lambda: None)
    moved = aliases.promote(work.home, "bridges@1", "production", "by hand")
    late = replace(work, plan=replace(work.plan, in_service=None))
    done = document()
    _register(late, done)
    assert (done["verdict"], done.get("alias")) == ("hold", None)
    assert "was moved while this run was under way; it was compared with nothing" in done["reasons"][0]
    assert aliases.history(work.home)[-1] == moved
    again = document()
    _register(work, again)
    _register(work, document())
    assert (again["verdict"], again["alias"], again["model"]) == ("ship", "production", "bridges@2")
    assert [move.version for move in aliases.history(work.home)][-2:] == [1, 2]
    aliases.rollback(work.home, "bridges@production")
