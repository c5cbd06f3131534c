"""Dataset versions as entries of a recipe: their rows come back as they are, in the split that is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data import version
from luthier.data.pipeline import prepare
from luthier.data.stored import versions_of
from luthier.errors import DataError, NotFound
from luthier.recipe.types import Recipe

ROWS = [{"prompt": f"question {n}", "completion": f"answer {n}", "more": n} for n in range(40)]


@pytest.fixture
def first(home, tmp_path: Path):
    """A stored version of forty rows, cut into splits."""
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    recipe = of({"path": "a.jsonl", "licence": "CC0-1.0"})
    return version.write(home, prepare(recipe, tmp_path), recipe)


def of(*data: Any) -> Recipe:
    return Recipe.model_validate({"base_model": "any", "data": data})


def test_test_rows_of_a_version_stay_test_rows_beside_more_train_rows(home, first, tmp_path: Path) -> None:
    more = [{"prompt": f"new {n}", "completion": "yes"} for n in range(5)]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in more))
    stored = f"dataset:{first.id}"
    recipe = of("a.jsonl", "b.jsonl", {"path": stored, "split": "test"}, {"path": stored, "split": "validation"})
    again = prepare(recipe, tmp_path, home=home)
    for split in ("test", "validation"):
        assert again.splits[split] == version.read(home, first.id, split)
    assert len(again.splits["train"]) == first.manifest["splits"]["train"] + 5
    held = first.manifest["splits"]["test"] + first.manifest["splits"]["validation"]
    assert again.steps[-1].dropped == {
        "same input as a row of test": first.manifest["splits"]["test"],
        "same input as a row of validation": held - first.manifest["splits"]["test"],
    }  # fmt: skip
    assert versions_of(home, recipe) == [first.id]
    written = version.write(home, again, recipe, parents=[first.id])
    named = [Path(source["path"]).name for source in written.manifest["sources"]]
    assert named == ["a.jsonl", "b.jsonl", stored, stored]
    assert written.manifest["licences"] == ["CC0-1.0"]


def test_a_version_may_be_named_by_the_start_of_its_id_and_weighed(home, first, tmp_path: Path) -> None:
    again = prepare(of({"path": f"dataset:{first.id[:7]}", "weight": 2.0, "licence": "MIT"}), tmp_path, home=home)
    assert {row.weight for rows in again.splits.values() for row in rows} == {2.0}
    assert {row.licence for rows in again.splits.values() for row in rows} == {"MIT"}
    assert again.splits["train"][0].row_id.startswith("a.jsonl:")
    assert again.task == "generate"


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ({"split": "earlier"}, r"has no earlier rows. It has \d+ train, \d+ validation, \d+ test"),
        ({"type": "chat"}, "`type` has no effect on a dataset version"),
        ({"field_prompt": "q"}, "`field_prompt` has no effect"),
        ({"group": "more"}, "`group` has no effect"),
    ],
)
def test_what_has_no_effect_is_refused(home, first, tmp_path: Path, entry, what) -> None:
    data = [{"path": "a.jsonl"}, {"path": f"dataset:{first.id}", **entry}]
    with pytest.raises(DataError, match=what):
        prepare(of(*data), tmp_path, home=home)


def test_an_unknown_version_is_not_found(home, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no dataset version"):
        prepare(of("dataset:ds-404"), tmp_path, home=home)
