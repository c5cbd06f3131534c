"""Runs: ids, the state machine, finding what can be resumed, events, metrics and control."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from luthier.errors import NotFound, StoreError
from luthier.store import Home, runs
from luthier.store.files import Lock
from luthier.store.runs import NEXT, lock_path, run_folder

PATHS = {  # how a new run gets into each status
    "queued": (),
    "running": ("running",),
    "paused": ("running", "paused"),
    "cancelling": ("running", "cancelling"),
    "cancelled": ("running", "cancelling", "cancelled"),
    "succeeded": ("running", "succeeded"),
    "failed": ("running", "failed"),
}


def make(home: Home, sha: str = "sha", **values: Any) -> runs.RunRow:
    recipe = {"base_model": "tiny", "data": ["a.jsonl"]}
    return runs.create(
        home, **{"name": "tickets", "recipe": recipe, "command": "luthier run", **values}, recipe_sha256=sha
    )


def lead(home: Home, status: str) -> str:
    run = make(home)
    for step in PATHS[status]:
        runs.set_status(home, run.id, step)  # type: ignore[arg-type]
    return run.id


def test_a_new_run_has_a_row_and_a_folder(home: Home) -> None:
    run = make(home, name="Tickets, größer!")
    assert re.fullmatch(r"\d{8}-\d{6}-tickets-gr-er-[0-9a-f]{4}", run.id)
    assert (run.status, run.document, run.recipe["data"]) == ("queued", None, ["a.jsonl"])
    assert run_folder(home, run.id).is_dir()
    assert runs.get(home, run.id) == run


def test_runs_are_found_by_id_prefix_and_latest(home: Home) -> None:
    with pytest.raises(NotFound, match="no run yet"):
        runs.get(home, "latest")
    first, second = make(home, name="one"), make(home, name="two")
    assert runs.get(home, "latest") == second
    assert runs.get(home, first.id[:-2]) == first
    assert runs.list(home) == [second, first]
    assert runs.list(home, limit=1) == [second]
    with pytest.raises(NotFound, match="begins the ids of several runs"):
        runs.get(home, first.id[:8])
    for ref in ("nosuch", "", "%", "_"):
        with pytest.raises(NotFound, match="luthier runs list"):
            runs.get(home, ref)


def test_ids_sort_by_time_and_never_clash(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    endings = iter(["aaaa", "aaaa", "aaaa", "bbbb"])
    monkeypatch.setattr(runs.secrets, "token_hex", lambda _: next(endings))
    monkeypatch.setattr(runs, "now", lambda: "2026-11-21T11:15:03.123456+00:00")
    assert [make(home).id, make(home).id] == ["20261121-111503-tickets-aaaa", "20261121-111503-tickets-bbbb"]


@pytest.mark.parametrize("status", sorted(PATHS))
def test_only_the_steps_of_the_state_machine_are_allowed(home: Home, status: str) -> None:
    run_id = lead(home, status)
    final = not NEXT[status]
    for step in NEXT:
        if step not in NEXT[status] and (step != status or final):
            with pytest.raises(StoreError, match=f"a run that is {status} cannot become {step}"):
                runs.set_status(home, run_id, step)  # type: ignore[arg-type]
    assert runs.get(home, run_id).status == status
    for step in NEXT[status]:
        other = lead(home, status)
        runs.set_status(home, other, step)  # type: ignore[arg-type]
        assert runs.get(home, other).status == step
    if not final:
        runs.set_status(home, run_id, status)  # type: ignore[arg-type]


def test_a_finished_run_keeps_its_document(home: Home) -> None:
    run_id = lead(home, "running")
    runs.finish(home, run_id, {"verdict": "ship", "curves": [[1, math.nan]]})
    run = runs.get(home, run_id)
    assert (run.status, run.document) == ("succeeded", {"verdict": "ship", "curves": [[1, None]]})
    assert run.updated_at > run.created_at
    with pytest.raises(StoreError, match="it has ended"):
        runs.finish(home, run_id, {"verdict": "hold"})
    assert runs.get(home, run_id) == run


def test_what_is_not_there_is_not_found(home: Home) -> None:
    for call in (
        lambda: runs.set_status(home, "x", "running"),
        lambda: runs.finish(home, "x", {}),
        lambda: runs.control(home, "x"),
        lambda: runs.set_control(home, "x", "cancel"),
    ):
        with pytest.raises(NotFound, match="there is no run 'x'"):
            call()


@pytest.mark.parametrize("status", sorted(PATHS))
def test_unfinished_runs_are_found_if_nobody_works_on_them(home: Home, status: str) -> None:
    run_id = lead(home, status)
    found = runs.find_unfinished(home, "sha")
    assert (found.id if found else None) == (run_id if status in ("queued", "running", "paused") else None)
    with Lock(lock_path(home, run_id)):
        assert runs.find_unfinished(home, "sha") is None


def test_the_newest_free_run_of_the_same_recipe_in_this_home_is_taken_up(home: Home) -> None:
    old, gone, busy = make(home), make(home), make(home)
    make(home, sha="other")
    run_folder(home, gone.id).rmdir()  # a run of another machine that shares the database
    with Lock(lock_path(home, busy.id)):
        assert runs.find_unfinished(home, "sha") == old
    assert runs.find_unfinished(home, "sha") == busy


def test_events_come_back_in_order(home: Home) -> None:
    run_id = make(home).id
    runs.event(home, run_id, "stage", "data", {"rows": 3})
    runs.event(home, run_id, "warning", "slow disk")
    events = runs.events(home, run_id)
    assert [(event.kind, event.message, event.data) for event in events] == [
        ("stage", "data", {"rows": 3}),
        ("warning", "slow disk", None),
    ]
    assert events[0].at <= events[1].at


def test_metrics_of_a_replayed_step_replace_the_old_ones(home: Home) -> None:
    run_id = make(home).id
    runs.log_metrics(home, run_id, 2, {"loss": 1.5, "lr": 0.1})
    runs.log_metrics(home, run_id, 1, {"loss": 2.0})
    runs.log_metrics(home, run_id, 2, {"loss": 1.25})
    assert runs.metrics(home, run_id, "loss") == [(1, "loss", 2.0), (2, "loss", 1.25)]
    assert runs.metrics(home, run_id) == [(1, "loss", 2.0), (2, "loss", 1.25), (2, "lr", 0.1)]


def test_metrics_of_any_number_and_size(home: Home) -> None:
    run_id = make(home).id
    values = {f"m{number:04}": float(number) for number in range(1001)} | {"x": math.inf, "y": math.nan}
    runs.log_metrics(home, run_id, 1, values)
    runs.log_metrics(home, run_id, 2, {})
    found = runs.metrics(home, run_id)
    assert [value for _, _, value in found[:-1]] == [*map(float, range(1001)), math.inf]
    assert math.isnan(found[-1][2])


def test_a_wish_is_seen_until_it_is_taken_back(home: Home) -> None:
    run_id = make(home).id
    assert runs.control(home, run_id) is None
    runs.set_control(home, run_id, "pause")
    assert runs.control(home, run_id) == "pause"
    runs.set_control(home, run_id, None)
    assert runs.control(home, run_id) is None
