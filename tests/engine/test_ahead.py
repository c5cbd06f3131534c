"""Steps that are made ahead are those that would be made anyway."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from policies import RowsInMemory, files_of, language_rows

from luthier.data.batch import Batch, pack
from luthier.data.stream import Stream, packed
from luthier.engine.ahead import Ahead
from luthier.engine.checkpoint import Checkpoints
from luthier.engine.loop import train
from luthier.engine.plan import Plan
from luthier.errors import TrainingError
from luthier.models.load import make_policy
from luthier.objectives import TABLE
from luthier.recipe import Adapter, Objective, Train

ROWS = RowsInMemory(language_rows())


def stream(batch_size: int = 2) -> Stream:
    return Stream(packed(ROWS, 60), 6, batch_size, 12)


def numbers(batches: list[Batch]) -> list[list[int]]:
    return [batch.numbers_R.tolist() for batch in batches]


def test_any_step_may_be_taken_next() -> None:
    ahead = Ahead(stream(), 6, pinned=False)
    for step in (0, 1, 2, 2, 5, 3):
        assert numbers(ahead.take(step)) == numbers(stream().take(step))


def test_the_next_step_is_made_in_another_thread_and_none_after_the_last() -> None:
    made: list[tuple[str, int]] = []

    class Noted:
        def take(self, step: int) -> list[Batch]:
            made.append((threading.current_thread().name, step))
            return []

    ahead = Ahead(Noted(), 3, pinned=False)  # type: ignore[arg-type]
    for step in range(3):
        ahead.take(step)
    assert [step for _, step in made] == [0, 1, 2]
    assert made[0][0] != made[1][0] == made[2][0]


def test_what_goes_wrong_ahead_is_raised_at_its_step() -> None:
    class Broken:
        def take(self, step: int) -> list[Batch]:
            if step == 1:
                raise TrainingError("the row is gone")
            return []

    ahead = Ahead(Broken(), 3, pinned=False)  # type: ignore[arg-type]
    assert ahead.take(0) == []
    with pytest.raises(TrainingError, match="gone"):
        ahead.take(1)


def test_a_fit_ends_with_the_same_bits_and_a_checkpoint_of_either_serves_the_other(
    tiny_llama: Path, tmp_path: Path
) -> None:
    found = []
    for name, ahead in (("a", False), ("b", True)):
        policy = make_policy(files_of(tiny_llama), Adapter(lora_r=4), seed=1)
        plan = Plan(Train(learning_rate=1e-2), policy.trainable(), 6)
        source = Ahead(stream(), 6, pinned=False) if ahead else stream()
        train(policy, TABLE["sft"](Objective(), False), source, plan, Checkpoints(tmp_path / name, 9))
        found.append(torch.cat([p.detach().flatten() for p in policy.trainable().values()]))
    assert torch.equal(*found)
    Ahead(stream(), 6).restore(stream().state())
    with pytest.raises(TrainingError, match="another batch_size"):
        Ahead(stream(), 6).restore(stream(3).state())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_a_step_waits_once(tiny_llama: Path) -> None:
    """Between the first micro-batch and the report nothing waits for the device."""
    from luthier.engine.report import Report

    policy = make_policy(files_of(tiny_llama), Adapter(lora_r=4), seed=1, device="cuda")
    objective = TABLE["sft"](Objective(), False)
    plan = Plan(Train(learning_rate=1e-2), policy.trainable(), 6)
    batches = [pack([row]).pinned() for row in language_rows()]
    for _ in range(2):  # the first time, kernels are chosen
        report, moved = Report(1, {"nll": 1.0}), [batch.to("cuda") for batch in batches]
        torch.cuda.set_sync_debug_mode("error")
        try:
            for batch, scored in zip(batches, plan.backward(policy, objective, moved, {"nll": 9.0}), strict=True):
                report.add(batch, scored)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        report.settle()
        report.close(plan.step(0))
    assert len(report.losses) == len(batches)
