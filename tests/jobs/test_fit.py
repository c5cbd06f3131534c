"""A fit as a job: the same twice, gone on with where it was left, and told step by step."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from works import CHATS, SEVERAL, Events, classes, ready_of, recipe, work_of

from luthier.data.example import Example
from luthier.errors import DataError
from luthier.jobs.feeds.classes import class_weights, label_columns
from luthier.jobs.fit import fit
from luthier.jobs.workbench import Work
from luthier.recipe import Recipe
from luthier.store import Home, runs

STEPS = 6
SHORT = {"max_steps": STEPS, "batch_size": 4, "learning_rate": 1e-2, "eval_steps": 3, "save_steps": 3}


def go_on() -> str | None:
    return None


def stop_after(steps: int, order: str = "pause") -> Callable[[], str | None]:
    calls = itertools.count(1)
    return lambda: order if next(calls) == steps else None


def chat_work(folder: Path, model: Path, events: Events | None = None, **train: object) -> Work:
    home = Home(folder / "home")
    return work_of(ready_of(recipe(folder, model, CHATS, train={**SHORT, **train}), home), home, events)


def learnt(work: Work) -> dict[str, bytes]:
    """The files that hold weights."""
    return {path.name: path.read_bytes() for path in (work.folder / "adapter").glob("*.safetensors")}


@pytest.fixture(scope="module")
def whole(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Work, Events, dict]:
    events = Events()
    work = chat_work(tmp_path_factory.mktemp("whole"), tiny_llama, events)
    return work, events, fit(work, go_on)


def test_one_seed_gives_the_same_bytes_and_another_does_not(whole, tiny_llama: Path, tmp_path: Path) -> None:
    again, other = (chat_work(tmp_path / str(seed), tiny_llama, seed=seed) for seed in (0, 1))
    for work in (again, other):
        fit(work, go_on)
    assert learnt(again) == learnt(whole[0])
    assert learnt(again).keys() == learnt(other).keys() == {"adapter_model.safetensors"}
    assert learnt(other) != learnt(again)


@pytest.mark.parametrize("step", [1, 4])
def test_a_paused_fit_goes_on_to_the_same_end(whole, step: int, tiny_llama: Path, tmp_path: Path) -> None:
    work = chat_work(tmp_path, tiny_llama)
    assert fit(work, stop_after(step)) == {"stopped": "paused"}
    assert not (work.folder / "adapter").exists()
    assert not (work.folder / "fit.json").exists()
    result = fit(work, go_on)
    assert learnt(work) == learnt(whole[0])
    assert [result[key] for key in ("steps", "tokens", "reason", "best_step")] == [
        whole[2][key] for key in ("steps", "tokens", "reason", "best_step")
    ]


def test_a_cancelled_fit_stays_cancelled(tiny_llama: Path, tmp_path: Path) -> None:
    work = chat_work(tmp_path, tiny_llama)
    for look in (stop_after(2, "cancel"), go_on):
        assert fit(work, look) == {"stopped": "cancelled"}
    assert not (work.folder / "adapter").exists()


def test_a_finished_fit_is_not_repeated(whole) -> None:
    work, _, result = whole
    before = (work.folder / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns
    assert fit(work, stop_after(1)) == result
    assert (work.folder / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns == before


def test_what_a_fit_took(whole) -> None:
    _, _, result = whole
    assert (result["steps"], result["reason"]) == (STEPS, "plan complete")
    assert result["best_step"] in (3, 6)
    assert result["tokens"] > 0
    assert result["tokens_per_second"] == pytest.approx(result["tokens"] / result["seconds"])
    assert result["peak_memory_bytes"] > 1e8
    assert result["trained_parameters"] > 0


def test_every_step_is_logged_once_with_its_metrics(whole) -> None:
    work, events, _ = whole
    logged = runs.metrics(work.home, work.plan.run_id)
    steps = {name: [step for step, own, _ in logged if own == name] for name in {name for _, name, _ in logged}}
    everywhere = {"loss", "nll", "grad_norm", "learning_rate", "seconds", "tokens_per_second"}
    assert {name for name, at in steps.items() if at == list(range(1, STEPS + 1))} == everywhere
    assert steps["validation_nll"] == [3, 6]
    told = [data for kind, message, data in events.told if (kind, message) == ("progress", "train")]
    assert (told[-1]["done"], told[-1]["total"], told[-1]["eta_seconds"]) == (STEPS, STEPS, 0.0)


def test_the_steps_before_a_pause_are_logged_too(tiny_llama: Path, tmp_path: Path) -> None:
    work = chat_work(tmp_path, tiny_llama)
    fit(work, stop_after(5))
    fit(work, go_on)
    assert [step for step, _, _ in runs.metrics(work.home, work.plan.run_id, "loss")] == list(range(1, STEPS + 1))


def test_a_budget_of_time_ends_the_fit_and_keeps_what_was_learnt(tiny_llama: Path, tmp_path: Path) -> None:
    machine = {"threads": 1, "memory": "4GB", "price_per_hour": 3600.0}
    path = recipe(tmp_path, tiny_llama, CHATS, train={**SHORT, "max_cost": 1e-6}, machine=machine)
    home = Home(tmp_path / "home")
    work = work_of(ready_of(path, home), home)
    result = fit(work, go_on)
    assert (result["steps"], result["reason"]) == (1, "the budget of 0 s is used up")
    assert learnt(work)


def test_a_frozen_trunk_is_run_once_a_row(tiny_bert: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    path = classes(tmp_path, tiny_bert, train={"num_epochs": 3})
    first, second = Events(), Events()
    results = []
    for events in (first, second):
        work = work_of(ready_of(path, home), home, events)
        results.append((fit(work, go_on)["steps"], learnt(work)))
    names = ["features (train)", "features (validation)"]
    assert [name for name in first.of("progress") if name in names] == names
    assert not [name for name in second.of("progress") if name in names]
    assert results[0] == results[1]
    assert results[0][1].keys() == {"head.safetensors"}


@pytest.mark.parametrize("kind", ["prefix", "prompt"])
def test_virtual_tokens_are_learnt_and_go_on_after_a_pause(kind: str, tiny_llama: Path, tmp_path: Path) -> None:
    plain, paused = (
        work_of(ready_of(recipe(tmp_path / name, tiny_llama, CHATS, adapter=kind, train=SHORT), home), home)
        for name, home in ((name, Home(tmp_path / "home" / name)) for name in "ab")
    )
    fit(plain, go_on)
    assert fit(paused, stop_after(4)) == {"stopped": "paused"}
    assert fit(paused, go_on)["trained_parameters"] == 20 * 32 * (2 if kind == "prefix" else 1)
    assert learnt(paused) == learnt(plain)


def test_a_classifier_begins_with_the_best_head_on_its_own_virtual_tokens(tiny_bert: Path, tmp_path: Path) -> None:
    """What the untouched trunk says is kept apart from what it says behind them."""
    home = Home(tmp_path / "home")
    for number, kind in enumerate(("head", "prompt", "prefix")):
        work = work_of(ready_of(classes(tmp_path / kind, tiny_bert, adapter=kind, train=SHORT), home), home)
        fit(work, go_on)
        assert len([*home.cache("features").iterdir()]) == 2 + number


def test_several_labels_are_learnt(tiny_bert: Path, tmp_path: Path) -> None:
    home, quick = Home(tmp_path / "home"), {"num_epochs": 10, "learning_rate": 0.3, "eval_steps": 100}
    work = work_of(ready_of(classes(tmp_path, tiny_bert, SEVERAL, train=quick), home), home)
    assert work.plan.multi_label
    fit(work, go_on)
    losses = [loss for _, _, loss in runs.metrics(home, work.plan.run_id, "loss")]
    assert losses[0] < 0.9 * np.log(2), "the first head is better than one that knows nothing"
    assert losses[-1] < 0.9 * losses[0]


LABELS = ["a", "b", "c"]


def labelled(*given: str | tuple[str, ...], weights: tuple[float, ...] = ()) -> list[Example]:
    return [
        Example(row_id=f"r:{i}", text="x", weight=weight, **{"labels" if isinstance(own, tuple) else "label": own})
        for i, (own, weight) in enumerate(zip(given, weights or [1.0] * len(given), strict=True))
    ]


def asking(setting: object) -> Recipe:
    objective = {"type": "classify", "class_weights": setting}
    return Recipe.model_validate({"base_model": "m", "data": "r.jsonl", "objective": objective})


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    rows = labelled(*"aaabbc")
    member = np.eye(3, dtype=np.float32)[[0, 0, 0, 1, 1, 2]]
    found = class_weights(member, "balanced", LABELS)
    assert found.tolist() == pytest.approx(
        compute_class_weight("balanced", classes=np.array(LABELS), y=[row.label for row in rows]).tolist()
    )
    assert label_columns(rows, asking("balanced"), LABELS, False)["row_weight"].sum() == pytest.approx(6)


def test_a_row_counts_its_own_weight_times_that_of_its_class() -> None:
    rows = labelled("a", "c", "b", weights=(2.0, 0.5, 1.0))
    found = label_columns(rows, asking({"a": 3.0, "c": 4.0}), LABELS, False)
    assert found["label"].tolist() == [0, 2, 1]
    assert found["row_weight"].tolist() == [6.0, 2.0, 1.0]
    assert label_columns(rows, asking("none"), LABELS, False)["row_weight"].tolist() == [2.0, 0.5, 1.0]


def test_a_row_of_several_labels_counts_their_mean() -> None:
    found = label_columns(labelled(("a", "c"), ("b",), ()), asking({"a": 3.0, "c": 5.0}), LABELS, True)
    assert found["label"].tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    assert found["row_weight"].tolist() == [4.0, 1.0, 1.0]


def test_a_label_that_was_not_learnt_is_named_with_its_row() -> None:
    with pytest.raises(DataError, match="r:1: the label 'd' is none of the 3 that were learnt"):
        label_columns(labelled("a", "d"), asking("none"), LABELS, False)


def test_a_class_weight_for_an_unknown_label_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    objective = {"type": "classify", "class_weights": {"mony": 3.0}}
    with pytest.raises(ValueError, match="mony"):
        ready_of(classes(tmp_path, tiny_bert, objective=objective), Home(tmp_path / "home"))
