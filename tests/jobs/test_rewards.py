"""What answers earn: the scorers, functions of the user, and what is said where one cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest
from works import CHATS, Events, ready_of, recipe, work_of

from luthier.data.example import Example
from luthier.errors import DataError, RecipeError, TrainingError
from luthier.jobs.fit import fit
from luthier.jobs.rewards import reward_of

ROW = Example("rows.jsonl:3", prompt="what does it cost?", completion="2 euros")
JSON = Example("rows.jsonl:4", prompt="what does it cost?", completion='{"price": 2}')
GRPO = {"type": "grpo", "num_generations": 4}


def function(folder: Path, body: str) -> str:
    (folder / "earned.py").write_text(f"def reward(answer, example):\n    {body}\n")
    return f"{folder / 'earned.py'}:reward"


def test_the_scorers_of_the_evaluation_reward_answers() -> None:
    assert [reward_of("exact_match")(text, ROW) for text in ("2 euros", "3 euros")] == [1.0, 0.0]
    assert [reward_of("json_match")(text, JSON) for text in ('it is {"price": 2}', "2")] == [1.0, 0.0]


def test_a_function_is_told_the_answer_and_the_row(tmp_path: Path) -> None:
    reward = reward_of(function(tmp_path, "return len(answer) - len(example.answer())"))
    assert reward("4 euros!", ROW) == 1.0
    assert reward_of("operator:eq")(ROW, ROW) == 1.0  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "what"), [
    ("rouge", "no reward"), ("nowhere.py:reward", "no file nowhere.py"), ("no.such.module:reward", "cannot be loaded"),
    ("operator:reward", "no `reward`"), ("math:pi", "no function"), (":reward", "no reward"),
])  # fmt: skip
def test_what_cannot_be_a_reward_is_refused(name: str, what: str) -> None:
    with pytest.raises(RecipeError, match=what) as found:
        reward_of(name)
    assert found.value.where == "objective.reward"


def test_a_file_that_fails_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(RecipeError, match=r"broken.py cannot be loaded: ZeroDivisionError"):
        reward_of(f"{tmp_path / 'broken.py'}:reward")


@pytest.mark.parametrize("value", ["None", "float('nan')", "'much'"])
def test_what_is_no_number_is_refused_and_names_the_row(tmp_path: Path, value: str) -> None:
    with pytest.raises(TrainingError, match=r"rows.jsonl:3.*finite number"):
        reward_of(function(tmp_path, f"return {value}"))("2 euros", ROW)


def test_a_reward_is_looked_for_beside_the_recipe_and_before_the_run(tiny_llama: Path, home, tmp_path: Path) -> None:
    path = recipe(tmp_path / "a", tiny_llama, CHATS, objective={**GRPO, "reward": "earned.py:reward"})
    with pytest.raises(RecipeError, match="no file"):
        ready_of(path, home)
    function(tmp_path / "a", "return 1.0")
    assert ready_of(path, home).recipe.objective.reward == f"{tmp_path / 'a' / 'earned.py'}:reward"


@pytest.mark.parametrize(
    "objective", [GRPO, {"type": "ppo", "num_generations": 2, "num_iterations": 2, "kl_coef": 0.1}]
)
def test_a_fit_reports_what_was_earned(tiny_llama: Path, home, tmp_path: Path, objective: dict) -> None:
    reward = function(tmp_path, "return float(len(answer) > 8)")
    path = recipe(
        tmp_path / "a", tiny_llama, CHATS, objective={**objective, "reward": reward}, evaluate={"max_new_tokens": 6},
        train={"max_steps": 3, "batch_size": 2, "eval_steps": 2},
    )  # fmt: skip
    events = Events()
    work = work_of(ready_of(path, home), home, events)
    result = fit(work, lambda: None)
    told = [data["metrics"] for kind, _, data in events.told if kind == "progress" and data.get("stage") == "train"]
    assert {"reward", "reward_std", "truncated", "answer_tokens", "entropy", "clipped", "loss"} <= told[-1].keys()
    assert "validation_reward" in told[-1]
    assert ("kl" in told[-1]) is ("kl_coef" in objective)
    assert result["steps"] == 3
    assert not any("value_head" in key for key in _saved(work.folder / "adapter"))


def _saved(folder: Path) -> list[str]:
    from safetensors.torch import load_file

    return [key for path in folder.glob("*.safetensors") for key in load_file(path)]


def test_a_question_without_room_for_an_answer_is_refused(tiny_llama: Path, home, tmp_path: Path) -> None:
    path = recipe(tmp_path, tiny_llama, CHATS, objective=GRPO, evaluate={"max_new_tokens": 500})
    with pytest.raises(DataError, match="leaves no room"):
        fit(work_of(ready_of(path, home), home), lambda: None)


def test_another_reward_under_a_checkpoint_is_refused(tiny_llama: Path, home, tmp_path: Path) -> None:
    reward = function(tmp_path, "return float(len(answer) > 8)")
    path = recipe(
        tmp_path / "a", tiny_llama, CHATS, objective={**GRPO, "reward": reward}, evaluate={"max_new_tokens": 6},
        train={"max_steps": 3, "batch_size": 2},
    )  # fmt: skip
    work = work_of(ready_of(path, home), home)
    orders = iter([None, "pause"])
    assert fit(work, lambda: next(orders)) == {"stopped": "paused"}
    function(tmp_path, "return float(len(answer) < 8)")
    with pytest.raises(TrainingError, match="another data"):
        fit(work, lambda: None)
    function(tmp_path, "return float(len(answer) > 8)")
    assert fit(work, lambda: None)["steps"] == 3
