"""From a recipe to splits: what is dropped, cut, noted and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data.pipeline import prepare
from luthier.data.prepared import Prepared, StepCount
from luthier.errors import DataError
from luthier.recipe.types import Recipe


@pytest.fixture
def run(tmp_path: Path):
    """Write files of rows, and prepare a recipe that names them."""

    def run(files: dict[str, list[dict[str, Any]]], data: Any = "a.jsonl", **recipe: Any) -> Prepared:
        for name, rows in files.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return prepare(Recipe.model_validate({"base_model": "any", "data": data, **recipe}), tmp_path)

    return run


def asked(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(start, start + count)]


def labelled(count: int, label: str = "x") -> list[dict[str, Any]]:
    return [{"text": f"{label} {n}", "label": label} for n in range(count)]


def sizes(prepared: Prepared) -> dict[str, int]:
    return {name: len(rows) for name, rows in prepared.splits.items()}


def entry(name: str, split: str = "train", **more: Any) -> dict[str, Any]:
    return {"path": name, "split": split, **more}


def test_missing_splits_are_cut_and_said(run) -> None:
    prepared = run({"a.jsonl": asked(200)})
    assert sum(sizes(prepared).values()) == 200
    assert 29 <= len(prepared.splits["test"]) <= 31
    assert 19 <= len(prepared.splits["validation"]) <= 21
    taken = len(prepared.splits["test"])
    assert prepared.notes[0] == f"no test split given: 15% cut from train ({taken} of 200 rows, seed 0)"
    assert (prepared.task, prepared.labels, prepared.multi_label) == ("generate", (), False)


def test_every_step_counts_and_every_row_is_somewhere(run) -> None:
    rows = [
        *asked(40),
        *asked(3),
        {"prompt": "x", "completion": ""},
        {"prompt": "long", "completion": "y" * 99},
    ]
    prepared = run({"a.jsonl": rows}, curate={"max_chars": 50})
    assert prepared.steps == [
        StepCount("usable", 45, 44, {"blank completion": 1}),
        StepCount("length", 44, 43, {"longer than 50 characters": 1}),
        StepCount("deduplicate", 43, 40, {"duplicate of another row": 3}),
        StepCount("leakage", 40, 40, {}),
    ]
    kept = {row.row_id for found in prepared.splits.values() for row in found}
    dropped = {reject.example.row_id for reject in prepared.rejects}
    assert kept | dropped == {f"a.jsonl:{n}" for n in range(1, 46)}
    assert not kept & dropped


def test_given_splits_stay_whole_and_train_gives_way(run) -> None:
    files = {"a.jsonl": asked(30), "b.jsonl": asked(25, start=5)}
    prepared = run(files, [entry("a.jsonl"), entry("b.jsonl", "test")], splits={"validation": 0.2})
    assert sizes(prepared) == {"train": 4, "validation": 1, "test": 25}
    assert prepared.steps[-1] == StepCount("leakage", 55, 30, {"same input as a row of test": 25})
    assert "20% cut from train (1 of 5 rows" in prepared.notes[0]
    with pytest.raises(DataError, match="25 rows of train ask what rows of test ask"):
        run(files, [entry("a.jsonl"), entry("b.jsonl", "test")], curate={"leakage": "error"})


def test_duplicates_stay_if_asked_for(run) -> None:
    prepared = run({"a.jsonl": asked(30) + asked(30)}, curate={"deduplicate": False})
    assert sum(sizes(prepared).values()) == 60
    assert [step.name for step in prepared.steps] == ["usable", "length", "leakage"]
    homes: dict[str | None, set[str]] = {}
    for name, rows in prepared.splits.items():
        for row in rows:
            homes.setdefault(row.prompt, set()).add(name)
    assert {len(names) for names in homes.values()} == {1}


def test_entries_with_files_of_one_name_have_their_own_row_ids(run) -> None:
    prepared = run({"p/a.jsonl": asked(5), "q/a.jsonl": asked(5, start=5)}, [entry("p/a.jsonl"), entry("q/a.jsonl")])
    ids = {row.row_id for rows in prepared.splits.values() for row in rows}
    assert ids == {f"{folder}/a.jsonl:{n}" for folder in "pq" for n in range(1, 6)}


def test_formats_of_one_task_may_be_mixed(run) -> None:
    chat = [{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}]
    prepared = run({"a.jsonl": asked(9), "b.jsonl": chat}, [entry("a.jsonl"), entry("b.jsonl", weight=2)])
    assert [source.detected for source in prepared.sources] == ["prompt_completion", "chat"]
    weights = {row.source: row.weight for rows in prepared.splits.values() for row in rows}
    assert weights == {"a.jsonl": 1.0, "b.jsonl": 2.0}
    with pytest.raises(DataError, match=r"b\.jsonl: its rows are of type text, and those of .*a\.jsonl of"):
        run({"a.jsonl": asked(9), "b.jsonl": [{"text": "x"}]}, [entry("a.jsonl"), entry("b.jsonl")])


def test_groups_are_whole_and_shared_groups_noted(run) -> None:
    rows = [row | {"who": n // 10} for n, row in enumerate(asked(100))]
    prepared = run({"a.jsonl": rows}, [entry("a.jsonl", group="who")])
    groups = [{row.group for row in found} for found in prepared.splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 10
    assert "grouped, seed 0" in prepared.notes[0]
    given = {"a.jsonl": rows[:50], "b.jsonl": rows[45:70]}
    data = [entry("a.jsonl", group="who"), entry("b.jsonl", "test", group="who")]
    assert "1 groups are both in train and in test" in run(given, data, splits={"validation": 0}).notes


def test_labels_are_sorted_and_surprises_noted(run) -> None:
    train = [*labelled(30), *labelled(30, "y"), *labelled(1, "Y"), {"text": "x 1", "label": "y"}]
    test = [*labelled(20, "z"), {"text": "fresh", "label": "x"}]
    data = [entry("a.jsonl"), entry("b.jsonl", "test")]
    prepared = run({"a.jsonl": train, "b.jsonl": test}, data, splits={"validation": 0}, objective="classify")
    assert prepared.labels == ("Y", "x", "y", "z")
    assert prepared.task == "classify"
    assert prepared.notes == [
        "no validation split: none was given, and `splits.validation` is 0",
        "labels of test that train does not have, and no model can learn: z",
        "labels with a single row in train: Y",
        "labels that differ only in capitals count as different: Y, y",
        "1 input has several labels (a.jsonl:2 is x, a.jsonl:62 is y)",
    ]


def test_several_labels_a_row(run) -> None:
    rows = [{"text": f"t{n}", "labels": ["a"] if n % 2 else ["a", "b"]} for n in range(40)]
    prepared = run({"a.jsonl": rows})
    assert (prepared.labels, prepared.multi_label) == (("a", "b"), True)
    assert "stratified by rarest label" in prepared.notes[0]
    with pytest.raises(DataError, match=r"^a\.jsonl:41: some rows have one label, others a list"):
        run({"a.jsonl": [*rows, {"text": "one", "labels": "a"}]}, splits={"test": 0, "validation": 0})


def test_a_small_test_split_is_noted(run) -> None:
    assert any("the test split has only" in note for note in run({"a.jsonl": asked(60)}).notes)
    assert not any("the test split has only" in note for note in run({"a.jsonl": asked(200)}).notes)


@pytest.mark.parametrize(
    ("rows", "recipe", "words"),
    [
        (
            asked(30),
            {"objective": "classify"},
            "`classify` needs rows with labels, and these are of type",
        ),
        (labelled(30), {}, r"train has fewer than two labels \(x\)"),
        (
            asked(2),
            {},
            "2 different rows or groups are too few to cut test and validation.* at least 3",
        ),
        (
            asked(9),
            {"curate": {"max_chars": 5}},
            r"no row is left in train \(dropped: 9 longer than 5 char",
        ),
    ],
)
def test_data_that_cannot_be_trained_on(run, rows: Any, recipe: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        run({"a.jsonl": rows}, **recipe)


def test_train_is_needed_and_given_splits_may_not_run_empty(run) -> None:
    with pytest.raises(DataError, match=r"no row is left in train\. Add an entry with `split: train`"):
        run({"a.jsonl": asked(9)}, [entry("a.jsonl", "test")])
    blank = [{"prompt": "x", "completion": " "}]
    with pytest.raises(DataError, match=r"no row is left in test \(dropped: 1 blank completion\)"):
        run({"a.jsonl": asked(9), "b.jsonl": blank}, [entry("a.jsonl"), entry("b.jsonl", "test")])


def test_progress_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked(9)))
    told: list[tuple[str, int, int]] = []
    recipe = Recipe.model_validate({"base_model": "any", "data": "a.jsonl"})
    prepare(recipe, tmp_path, lambda *state: told.append(state))
    assert told == [("reading a.jsonl", 0, 1), ("usable", 0, 3), ("length", 1, 3), ("deduplicate", 2, 3)]


BESIDE = {"type": "sft", "beside": 0.3, "beside_type": "classify"}


def test_the_splits_of_a_second_objective_are_cut_from_its_own_rows(run) -> None:
    files = {"a.jsonl": asked(40), "b.jsonl": labelled(40) + labelled(40, "y")}
    prepared = run(files, [entry("a.jsonl"), entry("b.jsonl", "beside")], objective=BESIDE)
    found = sizes(prepared)
    assert (found["beside"], found["beside_validation"], found["beside_test"]) == (60, 8, 12)
    assert (
        "no beside_validation split given: 10% cut from beside (8 of 80 rows, stratified by label, seed 0)"
        in prepared.notes
    )
    assert (prepared.task, prepared.labels) == ("generate", ("x", "y"))


def test_what_either_objective_is_tested_on_is_learnt_by_neither(run) -> None:
    rows = labelled(40) + labelled(40, "y")
    held = [{"prompt": "x 3", "completion": "what is held out beside"}]
    files = {"a.jsonl": asked(40) + held, "b.jsonl": rows, "c.jsonl": rows[:10], "t.jsonl": asked(5, start=100)}
    files["t.jsonl"].append({"prompt": "y 7", "completion": "what is held out"})
    data = [entry("a.jsonl"), entry("t.jsonl", "test"), entry("b.jsonl", "beside"), entry("c.jsonl", "beside_test")]
    prepared = run(files, data, objective=BESIDE)
    assert prepared.steps[-1].dropped == {
        "same input as a row of beside_test": 11, "same input as a row of test": 1,
    }  # fmt: skip
    assert not {"x 3", "y 7"} & {row.question() for name in ("train", "beside") for row in prepared.splits[name]}
