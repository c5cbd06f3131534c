"""`luthier runs` over a real home."""

from __future__ import annotations

import json
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from luthier.cli import main
from luthier.store import Home, runs
from luthier.store.files import Lock


@pytest.fixture
def run_id(home: Home) -> str:
    row = runs.create(home, name="tickets", recipe={}, recipe_sha256="ab", command="luthier run r.yaml")
    runs.set_status(home, row.id, "running")
    runs.event(home, row.id, "stage", "data done")
    runs.log_metrics(home, row.id, 1, {"train_loss": 2.5})
    return row.id


def test_an_empty_home_says_how_to_begin(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "list"]) == 0
    assert "luthier run RECIPE" in capsys.readouterr().out


def test_list_shows_what_each_run_came_to(home: Home, run_id: str, capsys) -> None:
    runs.finish(home, run_id, {"run_id": run_id, "verdict": "hold", "model": "tickets@1"})
    main(["runs", "list"])
    line = capsys.readouterr().out.splitlines()[1]
    assert line.split()[:4] == [run_id, "succeeded", "hold", "tickets@1"]
    main(["runs", "list", "--json"])
    (entry,) = json.loads(capsys.readouterr().out)["runs"]
    assert (entry["run_id"], entry["verdict"]) == (run_id, "hold")


def test_show_prints_the_runs_own_document(home: Home, run_id: str, capsys) -> None:
    document = {"run_id": run_id, "verdict": "ship"}
    runs.finish(home, run_id, document)
    assert main(["runs", "show", "latest", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == document


def test_show_of_an_unfinished_run_tells_how_far_it_is(home: Home, run_id: str, capsys) -> None:
    assert main(["runs", "show", run_id]) == 0
    out = capsys.readouterr().out
    assert "interrupted; to go on, repeat the command\ncommand        luthier run r.yaml" in out
    assert "stage: data done" in out
    assert "step           1  train_loss 2.5" in out


def test_a_run_that_nobody_works_on_is_listed_as_interrupted(home: Home, run_id: str, capsys) -> None:
    def listed() -> list[str]:
        main(["runs", "list"])
        return capsys.readouterr().out.splitlines()[1].split()

    assert listed() == [run_id, "interrupted"]
    with Lock(runs.lock_path(home, run_id)):
        assert listed() == [run_id, "running"]
    main(["runs", "list", "--json"])
    (entry,) = json.loads(capsys.readouterr().out)["runs"]
    assert (entry["status"], entry["alive"]) == ("running", False)


def test_an_unknown_run_is_wrong_input(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "show", "2099"]) == 2
    assert "luthier runs list" in capsys.readouterr().err


def test_diff_prints_what_differs(home: Home, monkeypatch, capsys) -> None:
    document = {
        "a": "run-a",
        "b": "run-b",
        "recipe": [("train.seed", 0, 1)],
        "data": {"verdict": ("hold", "ship"), "wall_seconds": (71.5, None), "peak_memory_bytes": (1 << 30, 1 << 20)},
        "scores": {"exact_match": {"a": {"value": 0.8}, "b": {"value": 0.82}, "delta": 0.02}},
    }
    monkeypatch.setitem(sys.modules, "luthier.jobs.history", SimpleNamespace(diff=lambda *_: document))
    assert main(["runs", "diff", "a", "b"]) == 0
    out = capsys.readouterr().out
    assert "train.seed  0  1" in out
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert {"verdict hold ship", "time 1 min 12 s –", "memory 1.00 GiB 1 MiB"} <= set(rows)
    assert "exact_match 80.0 % 82.0 % +2.0 points" in rows


def test_watch_follows_until_the_run_ends(home: Home, run_id: str, capsys) -> None:
    seen: list[str] = []

    def carry_on() -> None:
        while not any("step 1" in text for text in seen):
            time.sleep(0.01)
            seen.append(capsys.readouterr().out)
        runs.log_metrics(home, run_id, 2, {"train_loss": 2.25})
        runs.event(home, run_id, "stage", "fit done")
        runs.finish(home, run_id, {})

    other = threading.Thread(target=carry_on)
    with Lock(runs.lock_path(home, run_id)):
        other.start()
        assert main(["runs", "watch", "latest", "--interval", "0.1"]) == 0
        other.join()
    lines = "".join([*seen, capsys.readouterr().out]).splitlines()
    steps = [line for line in lines if line.startswith("step")]
    assert steps == ["step 1  train_loss 2.5", "step 2  train_loss 2.25"]
    assert [line[10:] for line in lines if "stage" in line] == ["stage: data done", "stage: fit done"]
    assert lines[-1] == "succeeded"


def test_watch_does_not_wait_for_a_run_that_was_killed(home: Home, run_id: str, capsys) -> None:
    assert main(["runs", "watch", run_id, "--interval", "0.1"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "running, and no process works on it; to go on: luthier run r.yaml"


def test_watch_shows_all_that_is_under_way_and_nothing_else(home: Home, run_id: str, capsys) -> None:
    other = runs.create(home, name="other", recipe={}, recipe_sha256="cd", command="luthier run o.yaml").id
    with Lock(runs.lock_path(home, other)):
        later = threading.Timer(0.3, lambda: (runs.set_status(home, other, "running"), runs.finish(home, other, {})))
        later.start()
        assert main(["runs", "watch", "--interval", "0.1", "--json"]) == 0
        later.join()
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["run_id"] for line in told} == {other}
    assert [line["status"] for line in told] == ["queued", "succeeded"]


def test_watch_says_that_nothing_is_under_way(home: Home, run_id: str, capsys) -> None:
    assert main(["runs", "watch"]) == 0
    assert "no run is under way" in capsys.readouterr().err


def test_who_stops_watching_stops_no_run(home: Home, run_id: str, monkeypatch, capsys) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("luthier.cli.watch.follow", interrupt)
    assert main(["runs", "watch", run_id]) == 130
    assert "what runs goes on" in capsys.readouterr().err
    assert (runs.get(home, run_id).status, runs.control(home, run_id)) == ("running", None)
