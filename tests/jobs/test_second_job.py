"""Rows with labels that are learnt beside answers: one trunk, a head, and both objectives measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from works import CHATS, CLASSES, Events, ready_of, recipe, work_of

from luthier.jobs.compare import compare
from luthier.jobs.document import curves, scores_part, second_part, tuned_scores, verdict_part
from luthier.jobs.evaluate import evaluate
from luthier.jobs.feeds import feed_of
from luthier.jobs.fit import fit
from luthier.jobs.judge import judge
from luthier.jobs.reporting import Silent
from luthier.jobs.run import run
from luthier.jobs.second import PREFIX, is_tested, second
from luthier.jobs.workbench import Work
from luthier.models.load import make_policy
from luthier.store import Home, runs

TRAIN = {"max_steps": 4, "batch_size": 4, "learning_rate": 1e-2, "rehearsal": 0, "eval_steps": 2, "save_steps": 2}
BOTH = {"type": "sft", "beside": 0.3, "beside_type": "classify"}


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def both(folder: Path, model: Path, **sections: Any) -> Path:
    """A recipe of answers with classes beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    jsonl(folder / "labels.jsonl", CLASSES)
    entries = [{"path": "rows.jsonl"}, {"path": "labels.jsonl", "split": "beside"}]
    evaluate = {"baselines": ["base", "classic", "majority"], "forgetting": False}
    return recipe(folder, model, CHATS, **{"data": entries, "objective": BOTH, "train": TRAIN, "evaluate": evaluate,
                                           **sections})  # fmt: skip


@pytest.fixture(scope="module")
def learnt(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Work, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("both")
    home = Home(folder / "home")
    work = work_of(ready_of(both(folder, tiny_llama), home), home, Events())
    return work, fit(work, lambda: None)


def test_splits_and_labels_are_those_of_the_second_objective(tiny_llama: Path, tmp_path: Path) -> None:
    ready = ready_of(both(tmp_path, tiny_llama), Home(tmp_path / "home"))
    rows = {name: len(part) for name, part in ready.data.splits.items()}
    assert rows == {
        "train": 31, "validation": 4, "test": 5, "beside": 30, "beside_validation": 4, "beside_test": 6,
    }  # fmt: skip
    assert (ready.data.task, ready.data.labels) == ("generate", ("money", "wood"))
    assert any("no beside_test split given: 15% cut from beside (6 of 40 rows" in note for note in ready.data.notes)
    (reason,) = [one for one in ready.resolved.reasons if one.key == "objective.beside_type"]
    assert reason.value == "classify"
    assert "30 rows with 2 labels beside the 31 train rows: 4 beside 4 in each step" in reason.why
    assert ready.recipe.evaluate.metrics == ("exact_match",)  # labels are no answers


def test_the_second_objective_sees_a_run_of_its_own(learnt: tuple[Work, dict[str, Any]]) -> None:
    work = second(learnt[0])
    assert (work.recipe.objective.type, work.recipe.objective.beside, work.plan.task) == ("classify", 0, "classify")
    assert work.recipe.evaluate.metrics == ("accuracy", "macro_f1")
    assert work.rows["train"] is learnt[0].rows["beside"]
    assert work.rendered["test"] is learnt[0].rendered["beside_test"]


def test_each_step_has_rows_of_both_and_the_head_begins_at_its_optimum(tiny_llama: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    work = work_of(ready_of(both(tmp_path, tiny_llama), home), home)
    policy = make_policy(work.files, work.recipe.adapter, tuple(work.plan.labels))
    feed = feed_of(work, policy)
    rows = [[b.rows for b in feed.source.take(0) if bool(b.column("task")[0]) is part] for part in (False, True)]
    assert [sum(part) for part in rows] == [4, 4]
    assert policy.head is not None
    assert not any(bool(p.any()) for p in policy.head.parameters())
    feed.begin()
    assert any(bool(p.any()) for p in policy.head.parameters())
    assert feed.measure(policy).keys() == {"nll", "beside/accuracy", "beside/macro_f1"}


def test_both_are_learnt_and_told(learnt: tuple[Work, dict[str, Any]]) -> None:
    work, fitted = learnt
    assert fitted["steps"] == 4
    told = {name: value for _, name, value in runs.metrics(work.home, work.plan.run_id)}
    assert told["loss"] == pytest.approx(told["sft/nll"] + told["beside/cross_entropy"], rel=1e-5)
    assert {"validation_nll", "validation_beside/accuracy", "beside/accuracy"} <= told.keys()
    assert {"sft/nll", "beside/cross_entropy", "validation_beside/macro_f1"} <= curves(work).keys()
    assert work.recipe.train.metric_for_best_model == "nll"


def test_adapter_and_head_are_saved_in_one_folder(learnt: tuple[Work, dict[str, Any]]) -> None:
    work = learnt[0]
    files = {path.name for path in (work.folder / "adapter").iterdir()}
    assert {"adapter_model.safetensors", "head.safetensors", "head.json", "luthier.json"} <= files
    tuned = work.tuned()
    assert tuned.head is not None
    assert tuned.lm_head is not None
    assert tuned.head.config.labels == ("money", "wood")


def test_both_are_measured_against_their_own_baselines(learnt: tuple[Work, dict[str, Any]]) -> None:
    work = learnt[0]
    assert is_tested(work)
    main = scores_part(work, judge(work))
    part = second_part(work, judge(second(work), PREFIX))
    assert (main["metric"], part["metric"]) == ("exact_match", "accuracy")
    assert part["deltas"].keys() == {"base", "classic", "majority"}
    assert part["tuned"]["accuracy"]["n"] == 6
    assert (part["objective"], part["weight"], part["labels"]) == ("classify", 0.3, ["money", "wood"])
    assert {path.name for path in (work.folder / "scores" / "beside").iterdir()} == {
        "base.jsonl", "classic.jsonl", "majority.jsonl", "tuned.jsonl",
    }  # fmt: skip
    assert tuned_scores(main | {"beside": part}).keys() == {"exact_match", "beside/accuracy", "beside/macro_f1"}
    reasons = verdict_part(work, main, {}, part)["reasons"]
    assert sum(reason.startswith("Beside it: on accuracy the tuned model is") for reason in reasons) == 3


def test_a_run_that_was_interrupted_ends_with_the_same_bits(learnt: tuple[Work, dict[str, Any]]) -> None:
    work = learnt[0]
    again = work_of_same(work)
    looks = iter([None, None, "pause"])
    assert fit(again, lambda: next(looks, None)) == {"stopped": "paused"}
    assert fit(again, lambda: None)["steps"] == 4
    for name in ("adapter_model.safetensors", "head.safetensors"):
        assert (again.folder / "adapter" / name).read_bytes() == (work.folder / "adapter" / name).read_bytes()


SHORT = ("train.max_steps=2", "evaluate.max_new_tokens=4")


def test_a_finished_run_shows_both_and_can_be_evaluated_and_compared(tiny_llama: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    document = run(both(tmp_path, tiny_llama), SHORT, home)
    other = run(tmp_path / "recipe.yaml", (*SHORT, "train.learning_rate=0.02"), home)
    assert document["verdict"] in ("ship", "hold")
    assert document["beside"]["tuned"].keys() == {"accuracy", "macro_f1"}
    assert "Learnt beside" in Path(document["report"]).read_text()
    card = (Path(document["report"]).parent / "card.md").read_text()
    assert "## Scores of what is learnt beside (`classify`)" in card
    compared = compare(home, document["run_id"], other["run_id"])["metrics"]
    assert compared.keys() == {"exact_match", "beside/accuracy", "beside/macro_f1"}
    assert compared["beside/accuracy"]["delta"]["n"] == 6
    scored = evaluate(document["model"], jsonl(tmp_path / "more.jsonl", CLASSES[:10]), home, Silent())
    assert (scored["rows"], scored["scores"].keys()) == (10, {"beside/accuracy", "beside/macro_f1"})
    answered = evaluate(document["model"], jsonl(tmp_path / "asked.jsonl", CHATS[:5]), home, Silent())
    assert (answered["rows"], answered["scores"].keys()) == (5, {"exact_match"})
    again = evaluate(document["model"], tmp_path / "recipe.yaml", home, Silent())
    assert again["scores"]["beside/accuracy"] == document["beside"]["tuned"]["accuracy"]
    assert again["scores"]["exact_match"] == document["tuned"]["exact_match"]


def work_of_same(work: Work) -> Work:
    """Another run of the same plan."""
    row = runs.create(work.home, name="again", recipe=work.plan.recipe, recipe_sha256="1" * 64, command="")
    return replace(work, plan=replace(work.plan, run_id=row.id), folder=runs.run_folder(work.home, row.id))
