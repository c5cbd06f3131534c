"""Evaluation as a job: the same rows for everybody, kept answers, and a reason where a baseline does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
from works import CHATS, SEVERAL, TEXTS, Events, classes, ready_of, recipe, work_of

from luthier.evaluate.classic import NotApplicable
from luthier.evaluate.scores import Answer, Scores
from luthier.jobs.fit import fit
from luthier.jobs.judge import answers_of, judge, test_rows, values
from luthier.jobs.workbench import Work
from luthier.store import Home

test_rows.__test__ = False  # a name of the job, not a test


def silent(done: int, total: int) -> None: ...


@pytest.fixture(scope="module")
def judged(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Work, Events, dict]:
    folder = tmp_path_factory.mktemp("classes")
    home, events = Home(folder / "home"), Events()
    quick = {"num_epochs": 10, "learning_rate": 0.3, "eval_steps": 100}
    work = work_of(ready_of(classes(folder, tiny_bert, splits={"test": 0.3}, train=quick), home), home, events)
    fit(work, lambda: None)
    return work, events, judge(work)


def chat_work(folder: Path, model: Path, rows: list[dict] = CHATS, **sections: object) -> Work:
    home = Home(folder / "home")
    return work_of(ready_of(recipe(folder, model, rows, **sections), home), home)


def drawn(folder: Path, model: Path, rows: int | None, seed: int = 0) -> tuple[list[str], list[str]]:
    """Ids of the rows that are tested, and of the whole test split."""
    splits = {"test": 0.5, "validation": 0.0, "seed": seed}
    work = chat_work(folder, model, splits=splits, evaluate={"max_rows": rows})
    return [row.row_id for row in test_rows(work)], [row.row_id for row in work.rows["test"]]


def test_a_few_test_rows_are_drawn_the_same_each_time_and_in_order(tiny_llama: Path, tmp_path: Path) -> None:
    some, whole = drawn(tmp_path / "a", tiny_llama, 7)
    assert drawn(tmp_path / "b", tiny_llama, 7)[0] == some
    assert len(some) == len(set(some)) == 7
    assert [row for row in whole if row in some] == some
    assert some != whole[:7]


@pytest.mark.parametrize("limit", [None, 20, 1000])
def test_all_test_rows_where_the_limit_is_not_reached(limit: int | None, tiny_llama: Path, tmp_path: Path) -> None:
    some, whole = drawn(tmp_path, tiny_llama, limit)
    assert some == whole
    assert len(whole) == 20


def test_the_seed_of_the_split_decides_the_draw(tiny_llama: Path, tmp_path: Path) -> None:
    work = chat_work(tmp_path, tiny_llama, splits={"test": 0.5, "validation": 0.0}, evaluate={"max_rows": 7})
    other = Work(**vars(work) | {"recipe": work.recipe.model_copy(
        update={"splits": work.recipe.splits.model_copy(update={"seed": 1})})})  # fmt: skip
    assert [row.row_id for row in test_rows(work)] != [row.row_id for row in test_rows(other)]


def test_every_solver_answers_the_same_rows(judged) -> None:
    work, _, found = judged
    assert list(found) == ["base", "few_shot", "classic", "majority", "tuned"]
    asked = [row.row_id for row in work.rows["test"]]
    for name, scores in found.items():
        assert isinstance(scores, Scores)
        assert scores.solver == name
        assert [sample.row_id for sample in scores.samples] == asked
        assert {sample.prediction for sample in scores.samples} <= set(work.plan.labels)
        assert scores.seconds > 0


def test_what_is_easy_is_learnt(judged) -> None:
    _, _, found = judged
    assert found["tuned"].estimate("accuracy").value == found["classic"].estimate("accuracy").value == 1.0


def test_scores_that_were_written_are_not_found_again(judged) -> None:
    work, events, found = judged
    told = len(events.told)
    assert judge(work) == found
    assert len(events.told) == told
    assert {path.name for path in (work.folder / "scores").iterdir()} == {f"{name}.jsonl" for name in found}


def test_values_are_estimates_of_the_metrics_that_were_scored(judged) -> None:
    _, _, found = judged
    measured = values(found["tuned"], ["accuracy", "macro_f1", "exact_match"], 0.9)
    assert list(measured) == ["accuracy", "macro_f1"]
    assert measured["accuracy"].keys() == {"value", "low", "high", "n"}
    assert measured["accuracy"]["low"] < measured["accuracy"]["value"] <= measured["accuracy"]["high"]


@pytest.mark.parametrize("name", ["base", "few_shot"])
def test_similarity_does_not_answer_with_several_labels(name: str, tiny_bert: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    work = work_of(ready_of(classes(tmp_path, tiny_bert, SEVERAL), home), home)
    assert answers_of(work, name, test_rows(work), silent) == NotApplicable(
        "similarity picks one label, and these rows can have several"
    )


@pytest.mark.parametrize(
    ("name", "reason"), [("few_shot", "plain text asks no questions"), ("classic", "it has no likelihoods of text")]
)
def test_plain_text_has_one_baseline(name: str, reason: str, tiny_llama: Path, tmp_path: Path) -> None:
    work = chat_work(tmp_path, tiny_llama, TEXTS, objective="pretrain")
    assert answers_of(work, name, test_rows(work), silent) == NotApplicable(reason)
    found = answers_of(work, "base", test_rows(work)[:2], silent)
    assert isinstance(found, list)
    assert all(answer.nll > 0 and answer.tokens > 0 and answer.text is None for answer in found)


def test_a_baseline_that_does_not_fit_is_told_and_leaves_no_scores(tiny_llama: Path, tmp_path: Path) -> None:
    home, events = Home(tmp_path / "home"), Events()
    evaluate = {"baselines": ["few_shot", "classic"], "metrics": ["nll"]}
    path = recipe(tmp_path, tiny_llama, TEXTS, objective="pretrain", evaluate=evaluate, train={"max_steps": 1})
    work = work_of(ready_of(path, home), home, events)
    fit(work, lambda: None)
    found = judge(work)
    assert [type(one) for one in found.values()] == [NotApplicable, NotApplicable, Scores]
    assert "few_shot: plain text asks no questions" in events.of("note")
    assert [path.name for path in (work.folder / "scores").iterdir()] == ["tuned.jsonl"]


def test_metrics_decide_whether_a_model_writes_or_is_measured(tiny_llama: Path, tmp_path: Path) -> None:
    kinds = {"text": ["exact_match"], "nll": ["nll"], "both": ["exact_match", "nll"]}
    found: dict[str, list[Answer]] = {}
    for name, metrics in kinds.items():
        work = chat_work(tmp_path / name, tiny_llama, evaluate={"metrics": metrics, "max_new_tokens": 3, "max_rows": 2})
        found[name] = answers_of(work, "base", test_rows(work), silent)  # type: ignore[assignment]
    assert [(answer.text is None, answer.nll is None) for answer in found["text"]] == [(False, True)] * 2
    assert [(answer.text is None, answer.nll is None) for answer in found["nll"]] == [(True, False)] * 2
    assert [answer.text for answer in found["both"]] == [answer.text for answer in found["text"]]
    assert [answer.nll for answer in found["both"]] == pytest.approx([answer.nll for answer in found["nll"]])


def test_constrained_answers_are_ones_that_training_rows_have(tiny_llama: Path, tmp_path: Path) -> None:
    evaluate = {"metrics": ["exact_match"], "constrain": "labels", "max_rows": 3}
    work = chat_work(tmp_path, tiny_llama, evaluate=evaluate)
    free = chat_work(tmp_path / "free", tiny_llama, evaluate=evaluate | {"constrain": "none"})
    bound, loose = (answers_of(one, "base", test_rows(one), silent) for one in (work, free))
    possible = {f"{euros} euros" for euros in range(3)}
    assert {answer.text for answer in bound} <= possible
    assert not {answer.text for answer in loose} <= possible
