"""What is known about a step: its loss, the means, and the loss of every row."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from policies import language_policy, language_rows
from torch import Tensor

from luthier.data.batch import Batch, unpacked
from luthier.data.forest import Row
from luthier.data.stream import Stream, packed
from luthier.engine.checkpoint import Checkpoints
from luthier.engine.loop import train
from luthier.engine.plan import Plan
from luthier.engine.report import Report
from luthier.errors import TrainingError
from luthier.objectives import TABLE, Scored
from luthier.recipe import Objective, Train

LENGTHS = np.array([3, 4, 5, 6, 7])


def batch(*numbers: int) -> Batch:
    return unpacked(np.array(numbers), LENGTHS, {})


def scored(terms: dict[str, list[float]], metrics: dict[str, list[float]] | None = None) -> Scored:
    return Scored({name: Tensor(sums) for name, sums in terms.items()},
                  {name: torch.tensor(values) for name, values in (metrics or {}).items()})  # fmt: skip


def test_each_term_is_divided_once_by_its_own_units_over_all_micro_batches() -> None:
    report = Report(1, {"nll": 10.0, "penalty": 4.0})
    report.add(batch(0, 1, 2), scored({"nll": [1.0, 2.0, 3.0], "penalty": [0.0, 1.0, 0.0]}))
    report.add(batch(3), scored({"nll": [4.0], "penalty": [1.0]}))
    report.close({"grad_norm": 2.0})
    assert report.metrics == {"loss": 1.5, "nll": 1.0, "penalty": 0.5, "grad_norm": 2.0}
    assert report.tokens == 3 + 4 + 5 + 6


def test_metrics_are_means_over_rows_and_not_over_micro_batches() -> None:
    report = Report(1, {"nll": 1.0})
    report.add(batch(0, 1, 2), scored({"nll": [1.0] * 3}, {"accuracy": [True, True, False]}))
    report.add(batch(3), scored({"nll": [1.0]}, {"accuracy": [False]}))
    report.close({})
    assert report.metrics["accuracy"] == pytest.approx(2 / 4)


def test_a_step_without_anything_that_counts_has_a_loss_of_0() -> None:
    report = Report(1, {"nll": 0.0})
    report.add(batch(0), scored({"nll": [0.0]}))
    report.close({})
    assert report.metrics["loss"] == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_rows_with_a_loss_that_is_not_finite_are_named(bad: float) -> None:
    report = Report(4, {"nll": 1.0})
    report.add(batch(1, 3, 0), scored({"nll": [1.0, bad, 2.0]}))
    with pytest.raises(
        TrainingError, match=r"step 4, rows \[3\] of the training split: the loss of 1 of 3 rows"
    ) as told:
        report.settle()
    assert "train.learning_rate" in str(told.value)


def test_every_row_keeps_its_own_loss(tiny_llama: Path, tmp_path: Path) -> None:
    rows = language_rows()
    odd = 4
    rows[odd] = Row(rows[odd].ids, rows[odd].weights * np.float32(50), odd)
    seen: dict[int, float] = {}
    reports: list[Report] = []

    class Memory:
        lengths = np.array([len(row.ids) for row in rows])

        def __len__(self) -> int:
            return len(rows)

        def row(self, index: int, /) -> tuple[np.ndarray, np.ndarray]:
            return rows[index].ids, rows[index].weights

    def look(report: Report, policy: object) -> None:
        seen.update(report.losses)
        reports.append(report)

    policy = language_policy(tiny_llama, dtype=torch.float32)
    stream, plan = Stream(packed(Memory(), 60), 6, 3, 6), Plan(Train(learning_rate=1e-5), policy.trainable(), 2)
    train(policy, TABLE["sft"](Objective(), False), stream, plan, Checkpoints(tmp_path, 9), [look])
    assert sorted(seen) == list(range(6))
    assert max(seen, key=lambda number: seen[number]) == odd
    for report in reports:
        assert report.metrics["loss"] == pytest.approx(sum(dict(report.losses).values()) / report.units["nll"])
