"""Checkpoints are whole or not there, hold everything that decides the next step, and do not pile up."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import NoRows, OneNumber, keep, names, plan_of

from luthier.engine import pieces
from luthier.engine.checkpoint import PAUSED, Checkpoints, best_step, load_best, newest

BEFORE, AFTER = 1.5, 2.5


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, OneNumber]:
    """A folder with a checkpoint of step 3, and a policy that has moved on since."""
    policy = OneNumber(BEFORE)
    keep(Checkpoints(tmp_path / "run", 3), 3, policy, plan_of(policy))
    with torch.no_grad():
        policy.weight.fill_(AFTER)
    return tmp_path / "run", policy


@pytest.mark.parametrize("broken", ["weights", "optimizer", "state.json", "rename"])
def test_a_write_that_fails_leaves_the_older_one_in_force(
    broken: str, kept: tuple[Path, OneNumber], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, policy = kept
    with monkeypatch.context() as patch:
        breaks(patch, broken)
        with pytest.raises(OSError, match="the disk is full"):
            keep(Checkpoints(folder, 3), 6, policy, plan_of(policy))
    assert newest(folder, "step").name == "step-00000003"
    assert restored(folder) == (3, BEFORE)
    keep(Checkpoints(folder, 3), 6, policy, plan_of(policy))
    assert names(folder) == ["step-00000006"]
    assert restored(folder) == (6, AFTER)


def breaks(patch: pytest.MonkeyPatch, what: str) -> None:
    """Let the disk run full at one point of the writing."""

    def full(*args: object, **options: object) -> None:
        raise OSError("the disk is full")

    save = pieces.save_file
    if what in ("weights", "optimizer"):
        patch.setattr(pieces, "save_file", lambda tensors, path: (full if what in path.name else save)(tensors, path))
    else:
        patch.setattr(Path, {"state.json": "write_text", "rename": "rename"}[what], full)


def restored(folder: Path) -> tuple[int, float]:
    """The step and the weight that a new process finds."""
    policy = OneNumber(0.0)
    step = Checkpoints(folder, 3).restore(policy, plan_of(policy), NoRows())  # type: ignore[arg-type]
    return step, float(policy.weight.detach())


def test_where_nothing_was_kept_nothing_changes(tmp_path: Path) -> None:
    assert restored(tmp_path / "run") == (0, 0.0)
    policy = OneNumber(BEFORE)
    load_best(policy, tmp_path / "run")  # type: ignore[arg-type]
    assert float(policy.weight.detach()) == BEFORE
    assert best_step(tmp_path / "run") is None


def test_only_the_newest_of_each_kind_stays(tmp_path: Path) -> None:
    policy, run = OneNumber(), Checkpoints(tmp_path, 2)
    plan = plan_of(policy)
    for step in range(1, 7):
        if step in (2, 5):
            run.keep_best(policy, step)  # type: ignore[arg-type]
        keep(run, step, policy, plan)
    assert names(tmp_path) == ["best-00000005", "step-00000006"]
    assert best_step(tmp_path) == 5


@pytest.mark.parametrize(
    ("steps", "reason", "kept_steps"), [(7, None, [3, 6, 7]), (100, None, [3, 6]), (100, "cancelled", [3, 6, 7])]
)
def test_when_a_step_is_kept(steps: int, reason: str | None, kept_steps: list[int], tmp_path: Path) -> None:
    policy, run, seen = OneNumber(), Checkpoints(tmp_path, 3), []
    plan = plan_of(policy, steps)
    for step in range(1, 8):
        keep(run, step, policy, plan, reason if step == 7 else None)
        if newest(tmp_path, "step") is not None and newest(tmp_path, "step").name == f"step-{step:08d}":
            seen.append(step)
    assert seen == kept_steps


@pytest.mark.parametrize(("reason", "remembered"), [(PAUSED, None), ("cancelled", "cancelled"), (None, None)])
def test_a_pause_is_forgotten_and_other_reasons_are_not(reason: str, remembered: str, tmp_path: Path) -> None:
    policy, run = OneNumber(), Checkpoints(tmp_path, 1)
    run.history, run.seconds = [{"step": 1, "nll": 0.5}], 12.5
    keep(run, 4, policy, plan_of(policy), reason)
    assert run.reason == reason
    again = Checkpoints(tmp_path, 1)
    again.restore(policy, plan_of(policy), NoRows())  # type: ignore[arg-type]
    assert (again.reason, again.history, again.seconds, again.tokens) == (remembered, run.history, 12.5, 10)


def test_every_source_of_chance_goes_on_where_it_was(tmp_path: Path) -> None:
    def drawn() -> tuple[object, ...]:
        return torch.rand(3).tolist(), np.random.rand(3).tolist(), np.random.randn(), random.random(), random.gauss()

    drawn()
    policy = OneNumber()
    keep(Checkpoints(tmp_path, 1), 1, policy, plan_of(policy))
    expected = drawn()
    torch.manual_seed(9)
    np.random.seed(9)
    random.seed(9)
    restored(tmp_path)
    assert drawn() == expected


def test_the_best_weights_win_over_the_newest(tmp_path: Path) -> None:
    policy, run = OneNumber(BEFORE), Checkpoints(tmp_path, 1)
    run.keep_best(policy, 1)  # type: ignore[arg-type]
    with torch.no_grad():
        policy.weight.fill_(AFTER)
    keep(run, 2, policy, plan_of(policy))
    load_best(policy, tmp_path)  # type: ignore[arg-type]
    assert float(policy.weight.detach()) == BEFORE


def test_other_folders_are_no_checkpoints(kept: tuple[Path, OneNumber]) -> None:
    folder, _ = kept
    for name in ("step-00000009.part", "step-9", "best-00000009", "notes"):
        (folder / name).mkdir()
    assert newest(folder, "step").name == "step-00000003"
