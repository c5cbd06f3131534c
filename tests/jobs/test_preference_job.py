"""Preference pairs as a job: from a file to a verdict, and the policy at step 0 that is computed once."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from works import PAIRS, Events, ready_of, recipe, work_of

from luthier.data.stream import packed
from luthier.errors import DataError
from luthier.evaluate.classic import NotApplicable
from luthier.evaluate.scores import Scores
from luthier.jobs.document import scores_part, verdict_part
from luthier.jobs.feeds.feed import shuffled
from luthier.jobs.feeds.preference import reference
from luthier.jobs.fit import fit
from luthier.jobs.hardest import RowLosses, hardest
from luthier.jobs.judge import judge
from luthier.jobs.retention import forgetting
from luthier.jobs.workbench import Work
from luthier.models.load import make_policy
from luthier.store import Home, runs

STEPS = 6
SHORT = {"max_steps": STEPS, "batch_size": 4, "learning_rate": 1e-2, "eval_steps": 3, "save_steps": 3}


def pair_work(
    folder: Path, model: Path, objective: str = "dpo", home: Home | None = None, events: Events | None = None,
    adapter: str = "lora", rows: list[dict] = PAIRS, **train: object,
) -> Work:  # fmt: skip
    home = home or Home(folder / "home")
    sections = {"objective": objective, "adapter": adapter, "train": {**SHORT, **train}}
    return work_of(ready_of(recipe(folder, model, rows, **sections), home), home, events)


def learnt(work: Work) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (work.folder / "adapter").glob("*.safetensors")}


def _order(work: Work, step: int) -> list[int]:
    return shuffled(work, lambda numbers: [], len(work.rows["train"])).numbers(step)


def steps_of(work: Work, name: str) -> list[float]:
    return [value for _, _, value in runs.metrics(work.home, work.plan.run_id, name)]


@pytest.fixture(scope="module")
def whole(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Work, Events]:
    events = Events()
    work = pair_work(tmp_path_factory.mktemp("whole"), tiny_llama, events=events)
    fit(work, lambda: None)
    return work, events


def test_dpo_starts_at_ln_2_and_learns(whole) -> None:
    work, _ = whole
    losses = steps_of(work, "loss")
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6)
    assert losses[-1] < 0.5
    assert steps_of(work, "accuracy")[-1] == 1
    assert len(steps_of(work, "validation_loss")) == len(steps_of(work, "validation_accuracy")) == 2
    assert steps_of(work, "margin")[0] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("step", [1, 4])
def test_a_paused_fit_goes_on_to_the_same_end(whole, step: int, tiny_llama: Path, tmp_path: Path) -> None:
    calls = iter(range(1, 100))
    work = pair_work(tmp_path, tiny_llama)
    assert fit(work, lambda: "pause" if next(calls) == step else None) == {"stopped": "paused"}
    for file in work.home.cache("references").iterdir():
        file.unlink()
    fit(work, lambda: None)
    assert learnt(work) == learnt(whole[0])


def test_the_policy_at_step_0_is_asked_once_for_all_runs_on_the_same_pairs(tiny_llama: Path, tmp_path: Path) -> None:
    home, first, second, other = Home(tmp_path / "home"), Events(), Events(), Events()
    names = {"reference (train)", "reference (validation)"}
    for events, train in ((first, {}), (second, {"learning_rate": 1e-3}), (other, {"seed": 1})):
        fit(pair_work(tmp_path, tiny_llama, home=home, events=events, **train), lambda: None)
    assert names <= set(first.of("progress"))
    assert not names & set(second.of("progress"))
    assert names <= set(other.of("progress"))
    assert len(list(home.cache("references").iterdir())) == 4


def test_a_base_in_four_bits_has_a_reference_of_its_own(tiny_llama: Path, tmp_path: Path) -> None:
    work = pair_work(tmp_path, tiny_llama, home=Home(tmp_path / "home"))
    policy = make_policy(work.files, work.recipe.adapter, seed=0)
    for number_format in ("float32", "nf4"):
        reference(replace(work, files=replace(work.files, number_format=number_format)), policy, "train")
    assert len(list(work.home.cache("references").iterdir())) == 2


def test_the_reference_is_that_of_each_answer_alone(whole, tiny_llama: Path) -> None:
    work, _ = whole
    policy = make_policy(work.files, work.recipe.adapter, seed=0)
    found = reference(work, policy, "train")
    rows = work.rendered["train"]
    with policy.evaluating():
        alone = [float(policy.logprobs(packed(rows, 1)([i])[0]).sum()) for i in range(len(rows))]
    seen = {row for step in range(STEPS) for pair in _order(work, step) for row in (2 * pair, 2 * pair + 1)}
    assert 0 < len(seen) < len(rows)
    np.testing.assert_allclose(found, [logp if i in seen else 0 for i, logp in enumerate(alone)], rtol=1e-5)


def test_a_pair_is_counted_once(whole) -> None:
    work, _ = whole
    assert len(work.rendered["train"]) == 2 * len(work.rows["train"])
    assert work.plan.forecast["steps"] == STEPS
    kept = RowLosses(work, 1).losses
    assert set(map(int, kept)) <= set(range(len(work.rows["train"])))
    assert all(loss > 0 for loss in kept.values())
    shown = hardest(work)[0]
    assert shown["answer"].endswith("euros")
    assert shown["question"].endswith("cost?")


def test_dpo_is_judged_by_the_likelihood_of_its_answers(whole) -> None:
    work, _ = whole
    found = judge(work)
    left_out = {name for name, one in found.items() if isinstance(one, NotApplicable)}
    assert left_out == {"few_shot", "classic", "majority"}
    tuned, base = found["tuned"], found["base"]
    assert isinstance(tuned, Scores)
    assert isinstance(base, Scores)
    gained = [a.extra["margin"] - b.extra["margin"] for a, b in zip(tuned.samples, base.samples, strict=True)]
    assert min(gained) > 0
    assert tuned.estimate("preference_accuracy").value == 1
    assert tuned.samples[0].reference == tuned.samples[0].prediction == work.rows["test"][0].chosen
    part = scores_part(work, found)
    assert (part["metric"], part["best_baseline"]) == ("preference_accuracy", "base")
    assert verdict_part(work, part, {})["verdict"] in ("ship", "hold")
    assert forgetting(work).keys() == {"questions", "text_nll"}


@pytest.mark.parametrize(("adapter", "model"), [("lora", "tiny_llama"), ("head", "tiny_bert"), ("full", "tiny_bert")])
def test_a_reward_model_learns_and_is_found_again(adapter: str, model: str, request, tmp_path: Path) -> None:
    work = pair_work(tmp_path, request.getfixturevalue(model), "reward", adapter=adapter)
    fit(work, lambda: None)
    head = json.loads((work.folder / "adapter" / "head.json").read_text())
    assert head["labels"] == ["reward"]
    found = judge(work)
    assert found["tuned"].estimate("preference_accuracy").value == 1
    assert found["majority"].estimate("preference_accuracy").value == 1, "chosen answers are the shorter ones"
    assert found["classic"].estimate("preference_accuracy").value == 1
    assert isinstance(found["base"], NotApplicable) is (model == "tiny_bert")
    assert forgetting(work) == {}


def test_a_reward_model_is_resumed_bit_for_bit(tiny_llama: Path, tmp_path: Path) -> None:
    straight = pair_work(tmp_path / "a", tiny_llama, "reward")
    fit(straight, lambda: None)
    calls = iter(range(1, 100))
    parts = pair_work(tmp_path / "b", tiny_llama, "reward")
    fit(parts, lambda: "pause" if next(calls) == 2 else None)
    fit(parts, lambda: None)
    assert learnt(parts) == learnt(straight)
    assert learnt(parts).keys() == {"adapter_model.safetensors", "head.safetensors"}


def test_pairs_weigh_what_their_source_does(tiny_llama: Path, tmp_path: Path) -> None:
    from luthier.jobs.feeds.preference import pair_weights

    data = [{"path": "rows.jsonl", "weight": 2.0}]
    home = Home(tmp_path / "home")
    work = work_of(ready_of(recipe(tmp_path, tiny_llama, PAIRS, objective="dpo", data=data), home), home)
    assert set(pair_weights(work, "train")["row_weight"].tolist()) == {2.0}


@pytest.mark.parametrize(
    ("objective", "rows", "words"),
    [
        ("sft", PAIRS, "type preference, which `sft` does not learn from"),
        ("dpo", [{"prompt": "a?", "completion": "b"}] * 3, "`dpo` needs rows with a chosen and a rejected answer"),
        ("sft", [{"prompt": "a?", "completion": "b", "label": True}] * 3, "type kto"),
    ],
)
def test_rows_that_an_objective_does_not_learn_from(
    objective: str, rows: list[dict], words: str, tiny_llama: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=words):
        ready_of(recipe(tmp_path, tiny_llama, rows, objective=objective), Home(tmp_path / "home"))


def test_the_forecast_counts_both_rows_and_the_pass_at_step_0(tiny_llama: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    ready = ready_of(recipe(tmp_path, tiny_llama, PAIRS, objective="dpo", train={"num_epochs": 1}), home)
    rows = ready.rendered["train"]
    assert ready.facts.data.mean_tokens == pytest.approx(
        np.concatenate([part.lengths for part in ready.rendered.values()]).mean() * 2
    )
    assert ready.forecast.tokens == pytest.approx(len(rows) * ready.facts.data.mean_tokens / 2, rel=0.01)
    assert ready.forecast.micro_batch_tokens >= 2 * rows.lengths.max()
    reward = ready_of(recipe(tmp_path, tiny_llama, PAIRS, objective="reward", train={"num_epochs": 1}), home)
    assert ready.forecast.before_seconds > reward.forecast.before_seconds == 0
    assert torch.get_num_threads() >= 1
