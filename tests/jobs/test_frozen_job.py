"""Frozen blocks that run once: the same fit, computed once for all runs, and what `check` says of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from works import CHATS, CLASSES, PAIRS, TEXTS, Events, ready_of, recipe, work_of

from luthier.jobs.check import check
from luthier.jobs.fit import fit
from luthier.jobs.workbench import Work
from luthier.models import kept_states
from luthier.store import Home

STAGES = {"frozen blocks (train)", "frozen blocks (validation)"}
TRAIN = {"num_epochs": 2, "batch_size": 4, "learning_rate": 1e-2, "eval_steps": 5, "save_steps": 5}
SPLITS = {"validation": 0.2, "test": 0.1}
KINDS = {
    "sft": ("tiny_llama", CHATS, {"objective": "sft"}),
    "pretrain": ("tiny_llama", TEXTS, {"objective": "pretrain"}),
    "dpo": ("tiny_llama", PAIRS, {"objective": "dpo"}),
    "full": ("tiny_llama", CHATS, {"objective": "sft", "adapter": {"type": "full", "num_layers": 1}}),
    "classify": ("tiny_bert", CLASSES, {"objective": "classify"}),
}


def frozen_work(folder: Path, model: Path, kind: str = "sft", home: Home | None = None, events: Events | None = None,
                **train: Any) -> Work:  # fmt: skip
    _, rows, sections = KINDS[kind]
    home = home or Home(folder / "home")
    whole = {"adapter": {"type": "lora", "num_layers": 1}, "train": {**TRAIN, **train}, "splits": SPLITS, **sections}
    return work_of(ready_of(recipe(folder, model, rows, **whole), home), home, events)


def learnt(work: Work) -> dict[str, torch.Tensor]:
    fit(work, lambda: None)
    (path,) = (work.folder / "adapter").glob("*model.safetensors")
    return load_file(path)


def at_every_step(work: Work) -> Work:
    return replace(work, plan=replace(work.plan, forecast={**work.plan.forecast, "frozen_blocks": 0}))


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_same_is_learnt(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    model, events = request.getfixturevalue(KINDS[kind][0]), Events()
    wanted = learnt(at_every_step(frozen_work(tmp_path / "a", model, kind)))
    found = learnt(frozen_work(tmp_path / "b", model, kind, events=events))
    assert set(events.of("progress")) >= STAGES
    for name, weight in wanted.items():
        torch.testing.assert_close(found[name], weight, atol=1e-5, rtol=1e-4)


def test_a_paused_fit_goes_on_to_the_same_end_with_states_computed_again(tiny_llama: Path, tmp_path: Path) -> None:
    wanted = learnt(frozen_work(tmp_path / "a", tiny_llama))
    calls = iter(range(1, 100))
    work = frozen_work(tmp_path / "b", tiny_llama)
    assert fit(work, lambda: "pause" if next(calls) == 7 else None) == {"stopped": "paused"}
    for file in work.home.cache("states").iterdir():
        file.unlink()
    found = learnt(work)
    assert all(torch.equal(found[name], weight) for name, weight in wanted.items())


def test_later_runs_read_what_earlier_ones_computed(tiny_llama: Path, tmp_path: Path) -> None:
    home, first, second = Home(tmp_path / "home"), Events(), Events()
    learnt(frozen_work(tmp_path, tiny_llama, home=home, events=first))
    work = frozen_work(tmp_path, tiny_llama, home=home, events=second, num_epochs=1, learning_rate=1e-3)
    assert work.plan.forecast["frozen_blocks"] == 1, "one epoch pays where the states are there"
    learnt(work)
    assert set(first.of("progress")) >= STAGES
    assert not set(second.of("progress")) & STAGES


def test_a_fill_that_is_cut_off_goes_on_after_its_last_whole_file(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_states, "PART_BYTES", 5000)
    wanted = learnt(frozen_work(tmp_path / "a", tiny_llama))
    work = frozen_work(tmp_path / "b", tiny_llama)
    learnt(frozen_work(tmp_path / "b", tiny_llama, home=work.home))
    files = sorted(work.home.cache("states").iterdir())
    assert len(files) > 4
    files[2].unlink()
    times = [file.stat().st_mtime_ns for file in (*files[:2], *files[3:])]
    found = learnt(work)
    assert [file.stat().st_mtime_ns for file in (*files[:2], *files[3:])] == times
    assert files[2].exists()
    assert all(torch.equal(found[name], weight) for name, weight in wanted.items())


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"train": TRAIN}, "run once a row instead of 2 times"),
        ({"train": {**TRAIN, "num_epochs": 1}}, "run at every step: no row is learnt twice"),
        ({"train": TRAIN, "objective": {"type": "grpo", "reward": "exact_match"}}, "the rows are sampled anew"),
    ],
)
def test_check_says_what_becomes_of_frozen_blocks(
    sections: dict[str, Any], words: str, tiny_llama: Path, tmp_path: Path
) -> None:
    path = recipe(tmp_path, tiny_llama, CHATS, adapter={"type": "lora", "num_layers": 1}, **sections)
    told = check(path, (), Home(tmp_path / "home"))["resolved"]
    (why,) = [entry["why"] for entry in told if entry["key"] == "adapter.num_layers"]
    assert words in why
