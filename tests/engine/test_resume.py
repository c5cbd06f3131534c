"""A run that was interrupted equals one that was not, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from policies import language_policy, language_rows

from luthier.data.forest import Row
from luthier.data.stream import Stream, packed
from luthier.engine.adapter_seams import adapter_seams
from luthier.engine.checkpoint import PAUSED, Checkpoints, best_step, load_best, newest
from luthier.engine.hooks import Clock, Patience, Validate
from luthier.engine.loop import train
from luthier.engine.plan import Plan
from luthier.errors import TrainingError
from luthier.models.policy import Policy
from luthier.objectives import TABLE
from luthier.recipe import Adapter, Train
from luthier.recipe import Objective as Settings

STEPS = 7
SFT = TABLE["sft"](Settings(), False)


class Memory:
    def __init__(self, rows: list[Row]) -> None:
        self.rows, self.lengths = rows, np.array([len(row.ids) for row in rows])

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, i: int) -> Any:
        return self.rows[i].ids, self.rows[i].weights


LORA = Adapter(lora_r=4, lora_alpha=8.0)
ADALORA = Adapter(type="adalora", init_r=4, target_r=2)


def fit(
    model: Path, folder: Path, every: int = 1, hooks: Any = lambda run: [], seed: int = 0, adapter: Adapter = LORA
) -> tuple[Policy, Plan, Any]:
    policy = language_policy(model, adapter, torch.float32)
    rows = Memory(language_rows(shared=10))
    stream = Stream(packed(rows, 60, share_prefix=True), len(rows), 4, 4 * STEPS, seed, "rows")
    seams = adapter_seams(policy, adapter, STEPS)
    plan = Plan(Train(learning_rate=1e-2), policy.trainable(), STEPS, seams=seams)
    run = Checkpoints(folder, every)
    outcome = train(policy, SFT, stream, plan, run, hooks(run))
    return policy, plan, outcome


def same(a: tuple[Policy, Plan, Any], b: tuple[Policy, Plan, Any]) -> bool:
    weights = all(torch.equal(x, y) for x, y in zip(a[0].trainable().values(), b[0].trainable().values(), strict=True))
    left, right = a[1].state(), b[1].state()
    return weights and left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def stop_at(step: int) -> Any:
    return lambda report, policy: PAUSED if report.step == step else None


@pytest.mark.parametrize("adapter", [LORA, ADALORA], ids=["lora", "adalora"])
@pytest.mark.parametrize("step", [1, 3, 6])
def test_resumed_equals_uninterrupted(tiny_llama: Path, tmp_path: Path, step: int, adapter: Adapter) -> None:
    whole = fit(tiny_llama, tmp_path / "whole", adapter=adapter)
    stopped = fit(tiny_llama, tmp_path / "parts", every=100, hooks=lambda run: [stop_at(step)], adapter=adapter)
    assert stopped[2].steps == step
    assert not same(stopped, whole)
    resumed = fit(tiny_llama, tmp_path / "parts", adapter=adapter)
    assert same(resumed, whole)
    assert resumed[2].reason == "plan complete"


def test_a_half_written_checkpoint_is_not_taken_for_one(tiny_llama: Path, tmp_path: Path) -> None:
    whole = fit(tiny_llama, tmp_path / "whole")
    fit(tiny_llama, tmp_path / "run", hooks=lambda run: [stop_at(3)])
    (tmp_path / "run" / "step-00000005.part").mkdir()
    (tmp_path / "run" / "step-00000005.part" / "weights.safetensors").write_bytes(b"half")
    assert newest(tmp_path / "run", "step").name == "step-00000003"
    assert same(fit(tiny_llama, tmp_path / "run"), whole)


def test_other_data_under_a_checkpoint_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    fit(tiny_llama, tmp_path, hooks=lambda run: [stop_at(2)])
    with pytest.raises(TrainingError, match="another seed"):
        fit(tiny_llama, tmp_path, seed=5)


def test_a_run_that_was_stopped_for_good_stays_stopped(tiny_llama: Path, tmp_path: Path) -> None:
    worse = iter(range(100))

    def hooks(run: Checkpoints) -> list[Any]:
        measure = Validate(run, lambda policy: {"nll": float(next(worse))}, "nll", 1, STEPS)
        return [Clock(run), measure, Patience(run, "nll", 2)]

    first = fit(tiny_llama, tmp_path, hooks=hooks)
    again = fit(tiny_llama, tmp_path, hooks=hooks)
    assert first[2].steps == again[2].steps == 3
    assert "has not improved" in again[2].reason
    assert best_step(tmp_path) == 1


def test_the_best_weights_come_back(tiny_llama: Path, tmp_path: Path) -> None:
    kept = {}

    def hooks(run: Checkpoints) -> list[Any]:
        def measure(policy: Policy) -> dict[str, float]:
            kept[len(kept) + 1] = [p.detach().clone() for p in policy.trainable().values()]
            return {"nll": abs(len(kept) - 4.0)}

        return [Clock(run), Validate(run, measure, "nll", 1, STEPS)]

    policy, _, _ = fit(tiny_llama, tmp_path, hooks=hooks)
    load_best(policy, tmp_path)
    assert best_step(tmp_path) == 4
    assert all(torch.equal(a, b) for a, b in zip(kept[4], policy.trainable().values(), strict=True))


def test_a_gradient_that_is_not_finite_changes_nothing(tiny_llama: Path) -> None:
    policy = language_policy(tiny_llama, dtype=torch.float32)
    plan = Plan(Train(learning_rate=1e-2), policy.trainable(), STEPS)
    before = [p.detach().clone() for p in policy.trainable().values()]
    for parameter in policy.trainable().values():
        parameter.grad = torch.full_like(parameter, torch.nan)
    with pytest.raises(TrainingError, match="gradient of step 1 is nan"):
        plan.step(0)
    assert all(torch.equal(a, b) for a, b in zip(before, policy.trainable().values(), strict=True))


def test_a_loss_that_is_not_finite_names_its_rows(tiny_llama: Path, tmp_path: Path) -> None:
    policy = language_policy(tiny_llama, dtype=torch.float32)
    rows = language_rows()
    rows[2] = Row(rows[2].ids, rows[2].weights * np.float32("inf"), 2)
    memory = Memory(rows)
    stream = Stream(packed(memory, 60), 6, 6, 6)
    plan = Plan(Train(learning_rate=1e-2), policy.trainable(), 1)
    with pytest.raises(TrainingError, match=r"1 of \d rows is not finite.*\[2\]|rows \[2\]"):
        train(policy, SFT, stream, plan, Checkpoints(tmp_path, 1))
