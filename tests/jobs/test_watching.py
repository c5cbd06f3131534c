"""What is seen of a run while another process works on it."""

from __future__ import annotations

import os
import subprocess
import sys

from luthier.jobs.reporting import Recorded, Silent
from luthier.jobs.watching import look
from luthier.jobs.worker import MODULE
from luthier.jobs.workspace import PLAN, PROBE
from luthier.store import Home, runs
from luthier.store.files import Lock, write_json


def started(home: Home) -> str:
    row = runs.create(home, name="tickets", recipe={}, recipe_sha256="ab", command="luthier run r.yaml")
    runs.set_status(home, row.id, "running")
    return row.id


def test_a_later_look_sees_what_one_look_would_see(home: Home) -> None:
    run_id = started(home)
    before = None
    for step in range(1, 6):
        values = {"loss": 3.0 / step, "seconds": 2.0, "tokens_per_second": 10.0 * step}
        runs.log_metrics(home, run_id, step, values | ({"validation_nll": 1.5} if step == 4 else {}))
        before = look(home, run_id, before)
    whole = look(home, run_id)
    assert before == whole
    assert whole.curves["loss"] == [(step, 3.0 / step) for step in range(1, 6)]
    assert whole.curves["validation_nll"] == [(4, 1.5)]
    assert whole.last == {"loss": 0.6, "seconds": 2.0, "tokens_per_second": 50.0}
    assert (whole.step, whole.seconds) == (5, 10.0)


def test_steps_are_those_of_the_plan_and_of_the_probe_after_it(home: Home) -> None:
    run_id = started(home)
    assert look(home, run_id).steps is None
    write_json(runs.run_folder(home, run_id) / PLAN, {"forecast": {"steps": 100}})
    assert look(home, run_id).steps == 100
    write_json(runs.run_folder(home, run_id) / PROBE, {"forecast": {"steps": 90}})
    runs.log_metrics(home, run_id, 30, {"seconds": 60.0})
    seen = look(home, run_id)
    assert (seen.steps, seen.eta_seconds) == (90, 120.0)
    runs.finish(home, run_id, {"verdict": "hold", "peak_memory_bytes": 7})
    seen = look(home, run_id)
    assert (seen.ended, seen.eta_seconds, seen.outcome, seen.memory_bytes) == (True, None, {"verdict": "hold"}, 7)


def test_memory_is_that_of_the_processes_that_work_on_the_run(home: Home) -> None:
    run_id = started(home)
    with Lock(runs.lock_path(home, run_id)):
        assert look(home, run_id).alive
        assert look(home, run_id).memory_bytes is None
        worker = subprocess.Popen([sys.executable, "-c", "input()", MODULE], stdin=subprocess.PIPE)
        try:
            assert (look(home, run_id).memory_bytes or 0) > 1 << 20
        finally:
            worker.communicate(os.linesep.encode())


def test_what_is_worth_reading_later_is_kept(home: Home) -> None:
    run_id = started(home)
    told = Recorded(Silent(), home, run_id)
    told.event("stage", "train", {"name": "train", "state": "start"})
    told.event("progress", "train", {"done": 1, "total": 2})
    told.event("stage", "train", {"name": "train", "state": "done", "seconds": 1.0})
    told.event("warning", "the memory is short")
    assert [(event.kind, event.message) for event in look(home, run_id).events] == [
        ("stage", "train"),
        ("warning", "the memory is short"),
    ]
