"""The forecast of a whole job: what is computed once, at every validation, and after the fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_budget import CLASSES, FACTS, SMOLLM, data

from luthier.engine import budget
from luthier.engine.budget import Forecast, forward_operations
from luthier.engine.whole_job import STEP_SECONDS, forecast, validations
from luthier.recipe import Facts, Recipe, from_mapping, resolve

SPEED = 180e9 * 0.55
PAIRS = data(task="preference", types=("preference",))
ONE_PASS = {"num_epochs": 1, "batch_size": 9, "eval_steps": 20, "rehearsal": 0}


def settled(facts: Facts = FACTS, train: dict[str, Any] | None = None, **changes: Any) -> Recipe:
    train = {**ONE_PASS, **(train or {})}
    return resolve(from_mapping({"base_model": "m", "data": "rows.jsonl", "train": train, **changes}), facts).recipe


def whole(facts: Facts = FACTS, **changes: Any) -> Forecast:
    return forecast(settled(facts, **changes), facts)


def test_a_head_passes_the_rows_once_whatever_the_epochs() -> None:
    facts = replace(FACTS, data=CLASSES)
    one, forty = (whole(facts, adapter="head", objective="classify", train={"num_epochs": n}) for n in (1, 40))
    recipe = settled(facts, adapter="head", objective="classify")
    assert one.before_seconds == forty.before_seconds == pytest.approx(500 * forward_operations(recipe, facts) / SPEED)
    assert one.seconds == pytest.approx(50 * STEP_SECONDS)
    assert forty.seconds == pytest.approx(40 * one.seconds)


def test_validations_are_forward_passes_over_their_rows() -> None:
    """Fifty steps: after 20, 40 and 50."""
    recipe, without = settled(), data(rows={"train": 450, "test": 110})
    assert validations(recipe, FACTS, 50) == 3
    assert validations(settled(without), without, 50) == 0
    found = forecast(recipe, FACTS).seconds - forecast(settled(without), without).seconds
    assert found == pytest.approx(3 * 50 * forward_operations(recipe, FACTS) / SPEED)


def test_the_policy_at_step_0_is_asked_once_about_train_and_validation_pairs() -> None:
    found = whole(PAIRS, objective="dpo")
    assert found.before_seconds == pytest.approx(500 * forward_operations(settled(), FACTS) / SPEED)
    assert whole(objective="sft").before_seconds == 0


def test_a_stored_teacher_reads_each_row_once_and_a_live_one_each_time() -> None:
    facts = replace(FACTS, teacher=SMOLLM)

    def foretold(epochs: int, top_k: int | None) -> Forecast:
        objective = {"type": "distill", "teacher": "x", "top_k": top_k}
        return whole(facts, train={"num_epochs": epochs}, objective=objective)

    alone = [whole(train={"num_epochs": epochs}).seconds for epochs in (1, 2)]
    once = foretold(1, None).seconds - alone[0]
    assert once > 0.2 * alone[0]
    assert foretold(2, None).seconds - alone[1] == pytest.approx(2 * once)
    stored = [foretold(epochs, 64) for epochs in (1, 2)]
    assert [found.seconds for found in stored] == pytest.approx(alone)
    assert [found.before_seconds for found in stored] == pytest.approx([once, once])
    few = forecast(settled(facts, {"max_steps": 10}, objective={"type": "distill", "teacher": "x", "top_k": 64}), facts)
    assert few.before_seconds == pytest.approx(once * 90 / 450)


def test_only_a_decoder_computes_a_shared_beginning_once() -> None:
    shared = data(computed_share=0.5)
    trunk = 134_515_008 - 49152 * 576
    saved = budget.forecast(settled(), FACTS).seconds - budget.forecast(settled(shared), shared).seconds
    assert saved == pytest.approx(450 * 0.5 * 4 * trunk * 180.5 / SPEED)
    encoder = replace(SMOLLM, kind="encoder")
    a, b = (
        whole(Facts(encoder, replace(CLASSES, computed_share=share), FACTS.machine), objective="classify").seconds
        for share in (1.0, 0.5)
    )
    assert a == b


def test_the_job_holds_all_its_parts_and_more_to_evaluate_takes_longer() -> None:
    found = whole(PAIRS, objective="dpo", machine={"price_per_hour": 3.0})
    assert found.job_seconds > found.before_seconds + found.seconds
    assert found.cost == pytest.approx((found.before_seconds + found.seconds) / 1200)
    few, many, alone = (
        whole(evaluate=evaluate).job_seconds
        for evaluate in ({"max_rows": 10}, {"max_rows": 100}, {"max_rows": 100, "baselines": ["majority"]})
    )
    assert few < alone < many
