"""Whether frozen blocks run once: when it pays, and where the disk has room."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_budget import FACTS, MACHINE, SMOLLM
from test_whole_job import whole

from luthier.engine.frozen import Frozen, frozen
from luthier.recipe import Facts, from_mapping, resolve

DISK = replace(FACTS, machine=replace(MACHINE, disk_bytes=100_000_000_000))
LAST_16 = {"type": "lora", "num_layers": 16}


def found(facts: Facts = DISK, adapter: Any = LAST_16, **train: Any) -> Frozen | None:
    plain = {"base_model": "smollm2-135m-instruct", "data": "rows.jsonl", "adapter": adapter,
             "train": {"num_epochs": 2, "batch_size": 8, "rehearsal": 0, **train}}  # fmt: skip
    return frozen(resolve(from_mapping(plain), facts).recipe, facts)


def test_more_than_one_epoch_pays() -> None:
    assert found() == Frozen(14, int(4 * 576 * 180.5 * 500), "the 14 frozen blocks below run once a row instead of 2 "
                             "times: their output takes 0.21 GB of disk")  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "train", "words"),
    [
        (DISK, {"num_epochs": 1}, "no row is learnt twice"),
        (DISK, {"max_steps": 50}, "no row is learnt twice"),
        (replace(DISK, machine=replace(MACHINE, disk_bytes=400_000_000)), {}, "0.21 GB of disk, above the 0.2 GB"),
        (replace(DISK, model=replace(SMOLLM, enters=False)), {}, "padded"),
    ],
)
def test_otherwise_they_run_at_every_step(facts: Facts, train: dict[str, Any], words: str) -> None:
    told = found(facts, **train)
    assert told is not None
    assert told.blocks == 0
    assert words in told.why


def test_no_part_of_a_model_is_entered() -> None:
    plain = {"base_model": "smollm2-135m-instruct", "data": "rows.jsonl", "adapter": LAST_16}
    machine = {"num_processes": 2, "parallel": "fsdp"}
    train = {"num_epochs": 2, "batch_size": 8, "rehearsal": 0}
    told = frozen(resolve(from_mapping({**plain, "machine": machine, "train": train}), DISK).recipe, DISK)
    assert told is not None
    assert told.blocks == 0
    assert "no process holds all of the model" in told.why


def test_what_is_there_is_used_for_one_epoch_too() -> None:
    told = found(replace(DISK, states_kept=True), num_epochs=1)
    assert told is not None
    assert told.blocks == 14
    assert "have run" in told.why


@pytest.mark.parametrize("adapter", ["lora", {"type": "lora", "num_layers": 30}])
def test_nothing_is_said_where_no_block_is_frozen(adapter: Any) -> None:
    assert found(adapter=adapter) is None


def test_the_forecast_counts_them_once() -> None:
    train = {"num_epochs": 3, "batch_size": 8}
    every = whole(train=train, adapter=LAST_16)
    once = whole(DISK, train=train, adapter=LAST_16)
    kept = whole(replace(DISK, states_kept=True), train=train, adapter=LAST_16)
    assert (every.frozen_blocks, once.frozen_blocks, kept.frozen_blocks) == (0, 14, 14)
    assert every.seconds - once.seconds == pytest.approx(3 * once.before_seconds)
    assert every.before_seconds == kept.before_seconds == 0 < once.before_seconds
    assert kept.seconds == once.seconds
