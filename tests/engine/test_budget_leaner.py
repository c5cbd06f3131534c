"""The forecast of what is computed again, used as it arrives, or kept in eight bits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_budget import FIXED, MACHINE, data, foretold

from luthier.engine.budget import PASSAGE_TOKENS, Forecast, checkpointing
from luthier.recipe import from_mapping, resolve
from luthier.recipe.facts import MOST_KEPT


def decided(memory: str, **train: Any) -> tuple[Any, str | None]:
    recipe = from_mapping({"base_model": "m", "data": "d", "train": train, "machine": {"memory": memory}})
    found, why = checkpointing(resolve(recipe, data(longest_tokens=4000)).recipe, data(longest_tokens=4000))
    return found.train.gradient_checkpointing, why


def test_blocks_are_computed_again_only_where_the_longest_row_needs_it() -> None:
    off, why = decided("20GB")
    assert off is False
    assert "4,000 tokens, takes 9.5 GB; machine.memory leaves 19 GB" in str(why)
    on, why = decided("8GB")
    assert on is True
    assert "0.71 GB are enough" in str(why)
    assert decided("8GB", gradient_checkpointing=False) == (False, None)
    assert decided("20GB", gradient_checkpointing=True) == (True, None)


def test_computing_blocks_again_costs_a_forward_pass_and_saves_memory() -> None:
    kept, again, auto = (
        foretold(data(longest_tokens=4000), train={"gradient_checkpointing": how, **FIXED["train"]},
                 machine={"memory": "8GB"})
        for how in (False, True, "auto")
    )  # fmt: skip
    assert again.seconds == pytest.approx(1.5 * kept.seconds)
    assert again.peak_memory_bytes < kept.peak_memory_bytes / 2
    assert auto == again
    few = foretold(data(longest_tokens=64), train=FIXED["train"])
    assert few == foretold(data(longest_tokens=64), train={"gradient_checkpointing": False, **FIXED["train"]})


def test_states_in_the_machines_memory_are_not_in_the_gpus() -> None:
    gpu = replace(data(longest_tokens=4000), machine=replace(MACHINE, device="cuda"))
    train = {"gradient_checkpointing": True, **FIXED["train"]}
    near, far = (foretold(gpu, train={**train, "activation_offloading": away}) for away in (False, True))
    saved = near.micro_batch_tokens * 2 * 30 * 576
    assert near.peak_memory_bytes - far.peak_memory_bytes == pytest.approx(saved, rel=1e-3)


def whole(train: dict[str, Any] | None = None) -> Forecast:
    return foretold(adapter="full", train={**FIXED["train"], "max_grad_norm": 0, "gradient_checkpointing": False,
                                           **(train or {})}, machine={"memory": "30GB", "threads": 1})  # fmt: skip


def test_a_gradient_that_is_used_as_it_arrives_takes_no_memory_and_a_step_is_one_micro_batch() -> None:
    plain, lean = whole(), whole({"optimizer_in_backward": True})
    assert lean.micro_batch_tokens == 8 * 411
    assert lean.lanes == 1
    weights, table, tokens = 134_515_008, 49152 * 576, lean.micro_batch_tokens - plain.micro_batch_tokens
    saved = 4 * (2 * weights - table) - tokens * 4 * 34 * 30 * 576
    assert plain.peak_memory_bytes - lean.peak_memory_bytes == pytest.approx(saved, rel=1e-3)


def test_no_general_passage_is_longer_than_a_step_in_the_backward_holds() -> None:
    short = data(longest_tokens=20, mean_tokens=15.0)
    train = {"max_grad_norm": 0, "optimizer_in_backward": True, **FIXED["train"]}
    assert foretold(short, adapter="full", train=train).micro_batch_tokens == 8 * PASSAGE_TOKENS


def test_moments_of_eight_bits_take_a_quarter() -> None:
    saved = whole().peak_memory_bytes - whole({"optimizer": "adamw_8bit"}).peak_memory_bytes
    assert saved == pytest.approx(6 * 134_515_008, rel=1e-3)


def test_sixteen_bits_take_half_the_base_and_half_the_states_and_the_gpus_own_speed() -> None:
    gpu = replace(data(longest_tokens=4000), machine=replace(MACHINE, device="cuda", half_gflops=1800.0))
    wide, narrow = (
        foretold(gpu, train={"precision": name, **FIXED["train"]}, machine={"memory": "60GB"})
        for name in ("float32", "bfloat16")
    )
    states = 30 * MOST_KEPT * 576
    saved = 2 * 134_515_008 + 2 * states * wide.micro_batch_tokens
    assert wide.peak_memory_bytes - narrow.peak_memory_bytes == pytest.approx(saved, rel=1e-3)
    assert wide.seconds == pytest.approx(10 * narrow.seconds)


def test_all_weights_have_rounded_copies_in_sixteen_bits() -> None:
    wide, narrow = (whole({"precision": name, "max_steps": 10}) for name in ("float32", "bfloat16"))
    states = 2 * 30 * MOST_KEPT * 576 * wide.micro_batch_tokens
    assert narrow.peak_memory_bytes - wide.peak_memory_bytes == pytest.approx(2 * 134_515_008 - states, rel=1e-2)
