"""Feedback through the steps of all data, into a dataset version that knows where its rows came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from traces import chat_trace, forget

from luthier.data import version
from luthier.data.pipeline import prepare
from luthier.feedback.curate import Curated, Wishes, curate
from luthier.feedback.receive import receive
from luthier.feedback.said import Said
from luthier.recipe import Recipe
from luthier.store import feedback


@pytest.fixture
def held(home, tmp_path: Path) -> str:
    """The dataset version of the model that is in service."""
    rows = [{"prompt": f"what does bridge {n} cost?", "completion": f"{n} euros"} for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = Recipe.model_validate({"base_model": "any", "data": "rows.jsonl"})
    return version.write(home, prepare(recipe, tmp_path), recipe).id


def correct(home, name: str, asked: str, text: str, rater: str | None = "ana", **more: Any) -> None:
    chat_trace(home, name, asked, "ask the luthier")
    receive(home, [{"trace_id": name, "kind": "correction", "value": text, "rater": rater, **more}])


def curated(home, held: str | None, earlier: str | None = None, task: Any = "generate", **wishes: Any) -> Curated:
    said = [Said(*pair) for pair in feedback.of_models(home, "bridges")]
    return curate(home, said, task, held=held, earlier=earlier, wishes=Wishes(**wishes))


def test_rows_pass_the_steps_of_all_data(home, held) -> None:
    test, train, other = version.read(home, held, "test")[0], *version.read(home, held, "train")[:2]
    correct(home, "c1", "what does a new bridge cost?", "150 euros")
    correct(home, "c2", str(test.prompt), "7 euros")
    correct(home, "c3", str(train.prompt), str(train.completion))
    correct(home, "c4", str(other.prompt), "nothing")
    done = curated(home, held)
    assert done.dataset is not None
    rows = version.read(home, done.dataset, "train")
    assert [row.row_id for row in rows] == ["feedback:c1", "feedback:c4"]
    assert {step.name: step.dropped for step in done.prepared.steps if step.dropped} == {
        "known": {"the same as a train row of the model": 1},
        "leakage": {"same input as a row of test": 1},
    }  # fmt: skip
    assert (done.prepared.steps[0].rows_in, done.prepared.steps[0].rows_out) == (4, 4)
    assert [reject.example.row_id for reject in version.rejects(home, done.dataset)] == ["feedback:c3", "feedback:c2"]
    assert done.prepared.notes == ["1 rows ask what train rows of the model ask, and answer it otherwise"]
    assert version.get(home, done.dataset).manifest["parents"] == [held]
    assert rows[0].ratings[0]["rater"] == "ana"
    assert version.where(home, done.dataset, "feedback:c2").step == "leakage"


def test_the_same_feedback_gives_the_same_version(home, held) -> None:
    correct(home, "c1", "what does a new bridge cost?", "150 euros")
    assert curated(home, held).dataset == curated(home, held).dataset


def test_what_a_version_learnt_of_feedback_is_learnt_again(home, held, tmp_path: Path) -> None:
    correct(home, "c1", "what does a new bridge cost?", "150 euros")
    first = curated(home, held)
    stored = {"path": f"dataset:{first.dataset}"}
    recipe = Recipe.model_validate({"base_model": "any", "data": ["rows.jsonl", stored]})
    next_held = version.write(home, prepare(recipe, tmp_path, home=home), recipe).id
    second = curated(home, next_held)
    assert (second.rows, second.prepared.rejects, second.prepared.notes) == (1, [], [])
    assert second.dataset == first.dataset


def test_what_is_left_out_is_counted(home, held) -> None:
    correct(home, "c1", "what does a new bridge cost?", "150 euros")
    receive(home, [{"trace_id": "c1", "kind": "rating", "value": "up", "rater": "ben"}])
    done = curated(home, held)
    assert (done.dataset, done.rows) == (None, 0)
    assert done.prepared.steps[0].dropped == {"as many raters say otherwise": 2}


def test_rows_outlive_their_traces_but_not_their_feedback(home, held) -> None:
    correct(home, "c1", "what does a new bridge cost?", "150 euros")
    correct(home, "c2", "what does a new post cost?", "20 euros")
    first = curated(home, held)
    forget(home, "c1")
    correct(home, "c3", "what does a new nut cost?", "30 euros")
    second = curated(home, held, first.dataset)
    rows = version.read(home, str(second.dataset), "train")
    assert {row.row_id for row in rows} == {"feedback:c1", "feedback:c2", "feedback:c3"}
    assert second.prepared.notes == ["1 rows of an earlier version whose traces were purged"]
    assert second.parents == [held, first.dataset]
    feedback.remove(home, next(row.ratings[0]["feedback"] for row in rows if row.row_id == "feedback:c1"))
    third = curated(home, held, second.dataset)
    assert {row.row_id for row in version.read(home, str(third.dataset), "train")} == {"feedback:c2", "feedback:c3"}


def test_labels_take_the_form_of_the_models_rows(home, tmp_path: Path) -> None:
    rows = [{"text": f"row {n}", "label": "xy"[n % 2]} for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = Recipe.model_validate({"base_model": "any", "data": "rows.jsonl", "objective": "classify"})
    own = version.write(home, prepare(recipe, tmp_path), recipe).id
    for name, label in {"c1": "x", "c2": ["y"], "c3": ["x", "y"]}.items():
        chat_trace(home, name, f"text of {name}", "?")
        receive(home, [{"trace_id": name, "kind": "label", "value": label}])
    done = curated(home, own, task="classify")
    assert [(row.label, row.labels) for row in version.read(home, str(done.dataset), "train")] == [
        ("x", None), ("y", None)]  # fmt: skip
    assert done.prepared.steps[1].dropped == {"several labels, and the rows of the model have one": 1}
    assert done.prepared.labels == ("x", "y")


def test_a_base_model_has_no_held_out_rows(home) -> None:
    correct(home, "c1", "what does a new bridge cost?", "150 euros")
    done = curated(home, None)
    assert done.rows == 1
    assert version.get(home, str(done.dataset)).manifest["parents"] == []


def test_what_looks_personal_is_told_replaced_or_dropped(home, held) -> None:
    correct(home, "c1", "who sells bridges?", "write to ana@example.org")
    correct(home, "c2", "what is a bridge?", "a part of a violin")

    def said(**wishes: Any) -> tuple[list[str | None], Curated]:
        done = curated(home, held, **wishes)
        return [row.answer() for row in version.read(home, str(done.dataset), "train")], done

    kept, done = said()
    assert kept == ["write to ana@example.org", "a part of a violin"]
    assert done.prepared.notes == [
        "1 rows hold what looks personal or secret; `curate.personal: redact`, or `--personal redact`, replaces it"
    ]
    replaced, done = said(personal="redact")
    assert replaced == ["write to [email]", "a part of a violin"]
    assert next(step.changed for step in done.prepared.steps if step.name == "personal") == 1
    assert done.prepared.notes == []
    assert said(personal="drop")[0] == ["a part of a violin"]


def test_an_answer_that_is_empty_can_be_corrected(home, held) -> None:
    for name, empty in (("c1", ""), ("c2", None)):
        chat_trace(home, name, f"what is bridge {name}?", {"role": "assistant", "content": empty})
        receive(home, [{"trace_id": name, "kind": "correction", "value": "a part of a violin", "rater": "ana"}])
    done = curated(home, held)
    assert [row.answer() for row in version.read(home, str(done.dataset), "train")] == ["a part of a violin"] * 2
    pairs = curated(home, held, task="preference")
    assert pairs.dataset is None
    assert next(step.rows_out for step in pairs.prepared.steps if step.name == "usable") == 0
