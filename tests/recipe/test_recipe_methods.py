"""Settings of methods that contradict each other, or need something that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.errors import RecipeError
from luthier.recipe import load

BASE = "base_model: m\ndata: d.jsonl\n"
WRONG: dict[str, tuple[str, list[str]]] = {
    "privacy twice": (
        BASE + "privacy: {target_epsilon: 8, noise_multiplier: 1}\n",
        ["`privacy.noise_multiplier` contradicts `privacy.target_epsilon`"],
    ),
    "delta without epsilon": (BASE + "privacy: {target_delta: 1e-6}\n", ["`privacy.target_delta` has no effect"]),
    "privacy without a bound": (
        BASE + "privacy: {target_epsilon: 8}\ntrain: {max_grad_norm: 0}\n",
        ["`privacy` needs a bound"],
    ),
    "private rows that are counted": (
        BASE + "privacy: {target_epsilon: 8}\nobjective: {type: classify, class_weights: balanced}\n",
        ["`balanced` counts the private rows"],
    ),
    "private rows replayed": (
        "base_model: m\ndata: [{path: a}, {path: b, split: earlier}]\nprivacy: {target_epsilon: 8}\n"
        "train: {replay: 1}\n",
        ["earlier rows count more than once in `train.replay`"],
    ),
    "earlier data that nothing uses": (
        "base_model: m\ndata: [{path: a}, {path: b, split: earlier}]\n",
        ["`data.1.split` has no effect", "`train.replay` or `train.ewc_lambda`"],
    ),
    "nothing to replay": (BASE + "train: {replay: 0.5}\n", ["`train.replay` needs earlier data", "`split: earlier`"]),
    "nothing to hold": (BASE + "train: {ewc_lambda: 1}\n", ["`train.ewc_lambda` needs earlier data"]),
    "text that does not count": (
        "base_model: m\ndata: [{path: a}, {path: b, split: beside}]\n",
        ["`data.1.split` has no effect", "`objective.beside`"],
    ),
    "no text beside": (BASE + "objective: {beside: 0.3}\n", ["`objective.beside` has no effect", "`split: beside`"]),
    "labels beside without a weight": (
        BASE + "objective: {beside_type: classify}\n",
        ["`objective.beside_type` has no effect without `objective.beside`"],
    ),
    "test rows beside text": (
        "base_model: m\ndata: [{path: a}, {path: b, split: beside}, {path: c, split: beside_test}]\n"
        "objective: {beside: 0.3}\n",
        ["`data.2.split` has no effect", "`objective.beside_type: classify`"],
    ),
    "answers beside labels": (
        "base_model: m\ndata: [{path: a}, {path: b, split: beside}]\nobjective: {type: classify, beside: 0.3}\n",
        ["`classify` learns labels", "{type: sft, beside: 0.3, beside_type: classify}"],
    ),
    "labels beside pairs": (
        "base_model: m\ndata: [{path: a}, {path: b, split: beside}]\n"
        "objective: {type: dpo, beside: 0.3, beside_type: classify}\n",
        ["`dpo` compares answers", "a run of their own"],
    ),
    "labels beside rollouts": (
        "base_model: m\ndata: [{path: a}, {path: b, split: beside}]\n"
        "objective: {type: grpo, beside: 0.3, beside_type: classify}\n",
        ["`grpo` learns from answers it samples itself", "a run of their own"],
    ),
    "labels beside private rows": (
        "base_model: m\ndata: [{path: a}, {path: b, split: beside}]\nprivacy: {target_epsilon: 8}\n"
        "objective: {type: sft, beside: 0.3, beside_type: classify}\n",
        ["what is learnt beside private rows would not be private"],
    ),
    "the weights of classes that are not learnt": (
        "base_model: m\ndata: [{path: a}, {path: b, split: beside}]\n"
        "objective: {type: sft, beside: 0.3, class_weights: balanced}\n",
        ["`objective.class_weights` has no effect", "`objective: classify`"],
    ),
    "no teacher": (BASE + "objective: distill\n", ["`objective: distill` needs a teacher"]),
    "a teacher of nothing": (BASE + "objective: {type: sft, teacher: t}\n", ["no effect", "`objective: distill`"]),
    "a mixture of nothing": (
        BASE + "objective: {type: distill, teacher: t, jsd_beta: 0.2}\n",
        ["`objective.jsd_beta` has no effect", "`objective.divergence: js`"],
    ),
}


@pytest.mark.parametrize(("text", "words"), WRONG.values(), ids=WRONG.keys())
def test_a_contradiction_is_named_with_its_mend(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        load(tmp_path / "wrong.yaml")
    assert all(word in str(caught.value) for word in words)
