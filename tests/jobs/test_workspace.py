"""The folder of a run, and how a job tells what it does."""

from __future__ import annotations

from pathlib import Path

import pytest
from works import Events, classes, ready_of, work_of

from luthier.jobs.reporting import Silent, Stages
from luthier.jobs.work import whole_timeline
from luthier.jobs.workspace import read_plan, whole_folder, write_plan


def test_a_plan_is_read_as_it_was_written(tiny_bert: Path, home, tmp_path: Path) -> None:
    work = work_of(ready_of(classes(tmp_path, tiny_bert), home), home)
    write_plan(work.folder, work.plan)
    again = read_plan(work.folder)
    assert again == work.plan
    assert again.settings == work.recipe


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "adapter"

    def half(folder: Path) -> None:
        (folder / "first").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        whole_folder(target, half)
    assert not target.exists()
    whole_folder(target, lambda folder: (folder / "both").write_text("1") and None)
    assert [path.name for path in tmp_path.rglob("*")] == ["adapter", "both"]
    whole_folder(target, lambda folder: (folder / "new").write_text("2") and None)
    assert [path.name for path in tmp_path.rglob("*")] == ["adapter", "new"]


def test_stages_are_named_timed_and_tell_how_far_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([100.0, 104.0, 110.0])
    monkeypatch.setattr("luthier.jobs.reporting.time.perf_counter", lambda: next(times))
    events = Events()
    stages = Stages(events)
    with stages.stage("features") as progress:
        progress(2, 6)
    assert stages.timeline == [{"stage": "features", "seconds": 10.0}]
    assert [(kind, message) for kind, message, _ in events.told] == [
        ("stage", "features"), ("progress", "features"), ("stage", "features")]  # fmt: skip
    far = events.told[1][2]
    assert (far["done"], far["total"], far["seconds"], far["eta_seconds"]) == (2, 6, 4.0, 8.0)


def test_a_stage_that_fails_is_not_done() -> None:
    events = Events()
    stages = Stages(events)
    with pytest.raises(ValueError, match="broken"), stages.stage("load"):
        raise ValueError("broken")
    assert stages.timeline == []
    assert [data["state"] for _, _, data in events.told] == ["start"]


def test_nothing_done_has_no_time_left() -> None:
    events = Events()
    with Stages(events).stage("wait") as progress:
        progress(0, 5)
    assert events.told[1][2]["eta_seconds"] is None


def test_stages_are_kept_as_they_end() -> None:
    kept: list[list[str]] = []
    stages = Stages(Silent(), lambda timeline: kept.append([entry["stage"] for entry in timeline]))
    for name in ("open", "load"):
        with stages.stage(name):
            pass
    assert kept == [["open"], ["open", "load"]]


def test_the_timeline_is_that_of_all_processes() -> None:
    """The first was killed while it trained: what it spent in steps is known from the fit alone."""
    first = [{"stage": "open", "seconds": 1.0}]
    second = [
        {"stage": "open", "seconds": 2.0},
        {"stage": "train", "seconds": 10.0},
        {"stage": "judge", "seconds": 4.0},
    ]
    found = whole_timeline(first + second, fit_seconds=25.0)
    assert found == [
        {"stage": "open", "seconds": 3.0}, {"stage": "train", "seconds": 25.0}, {"stage": "judge", "seconds": 4.0},
    ]  # fmt: skip
