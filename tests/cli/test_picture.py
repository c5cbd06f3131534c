"""How a run is drawn, from rows alone."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
from rich.console import Console

from luthier.cli.picture import bar, curve, picture, state
from luthier.jobs.watching import Sight
from luthier.store.runs import Event

LOSS = [(step, 3.0 / step) for step in range(1, 201)]
RUN = "20261127-214112-tickets-c259"


def seen(**changes: Any) -> Sight:
    usual = {
        "run_id": RUN, "status": "running", "alive": True, "command": "luthier run r.yaml", "steps": 400, "step": 200,
        "curves": {"loss": LOSS, "validation_nll": [(100, 2.5), (200, 2.25)]}, "seconds": 100.0,
        "last": {"loss": 0.015, "tokens_per_second": 183.4}, "memory_bytes": 3 << 30,
        "events": (Event("2026-11-27T21:41:12.5+00:00", "stage", "train", None),),
    }  # fmt: skip
    return Sight(**(usual | changes))


def drawn(*sights: Sight, width: int = 80) -> list[str]:
    stream = io.StringIO()
    console = Console(file=stream, width=width, highlight=False)
    console.print(picture(sights, width))
    return stream.getvalue().splitlines()


def test_a_curve_falls_from_left_to_right() -> None:
    assert curve([(1, 8.0), (2, 4.0), (3, 1.0)], 10, 1) == ["█▄▁"]
    assert curve([(1, 8.0), (2, 1.0)], 10, 2) == ["█ ", "█▁"]
    assert curve([(1, 8.0), (2, 6.0), (3, 2.0), (4, 0.0)], 2, 1) == ["█▁"]


def test_a_curve_of_nothing_or_of_one_value_is_a_curve() -> None:
    assert curve([], 10, 2) == ["", ""]
    assert curve([(1, 2.0), (2, 2.0)], 10, 1) == ["▁▁"]
    assert curve([(1, math.nan), (2, 2.0), (3, math.inf)], 10, 1) == ["▁"]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    long = seen(run_id=RUN + "-with-a-name", events=(Event("2026-11-27T21:41:12", "note", "word " * 60, None),))
    assert max(map(len, drawn(long, width=width))) <= width


def test_a_run_alone_is_drawn_in_detail() -> None:
    lines = drawn(seen())
    assert lines[0] == f"{RUN}  running: train"
    assert lines[1].endswith("200/400  1 min 40 s left")
    text = "\n".join(lines)
    assert "183 tokens/s  memory 3.00 GiB" in text
    assert "valid    nll 2.25" in text
    assert lines[-1] == "21:41:12  train"
    assert lines[2].startswith("loss ")
    assert lines[2].endswith("  3")
    assert lines[3].startswith("0.015 ")
    assert lines[7].endswith("  0.015")


def test_runs_together_take_a_line_for_the_loss() -> None:
    lines = drawn(seen(), seen(run_id="other"))
    assert [line for line in lines if line.startswith("loss")] == [lines[2], lines[8]]
    assert lines[2].endswith("3 → 0.015")
    assert lines[5] == ""


def test_half_done_is_half_a_bar() -> None:
    full, empty = (bar(seen(), 80).count(sign) for sign in "█·")
    assert full == empty == 20
    assert bar(seen(step=0), 80).startswith("····")
    assert "left" not in bar(seen(step=0), 80)


def test_a_run_that_nobody_works_on_says_how_to_go_on() -> None:
    assert state(seen(alive=False)) == "interrupted"
    lines = drawn(seen(alive=False))
    assert lines[-1] == "no process works on it; to go on: luthier run r.yaml"
    assert "left" not in lines[1]


def test_the_end_says_what_came_of_it() -> None:
    outcome = {"verdict": "ship", "model": "tickets@3", "report": "/home/runs/report.html"}
    text = "\n".join(drawn(seen(status="succeeded", alive=False, step=400, outcome=outcome)))
    assert f"{RUN}  succeeded" in text
    assert "outcome  ship  tickets@3\nreport   /home/runs/report.html" in text


def test_what_data_says_does_not_steer_the_terminal() -> None:
    event = Event("2026-11-27T21:41:12", "note", "a\x1b[2Jb\nc", None)
    assert drawn(seen(events=(event,)))[-1] == "21:41:12  a\\x1b[2Jb c"
