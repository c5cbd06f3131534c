"""What a long job says on stderr: to people at a terminal, to log files, and to programs."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from luthier.cli.progress import JsonLinesReporter, RichReporter, detail_text, reporter

STEP = {"stage": "fit", "done": 50, "total": 200, "seconds": 60.0, "loss": 1.25, "tokens_per_second": 183.4}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def plain(clock: Clock) -> tuple[RichReporter, io.StringIO]:
    stream = io.StringIO()
    return RichReporter(Console(file=stream, width=100), clock), stream


def test_a_step_tells_loss_speed_and_time_left() -> None:
    assert detail_text(STEP) == "3 min 0 s left  loss 1.250  183 tokens/s"


def test_the_jobs_own_estimate_wins() -> None:
    assert "40 s left" in detail_text(STEP | {"eta_seconds": 40.0})


def test_of_the_metrics_only_validation_is_shown() -> None:
    metrics = {"loss": 2.0, "seconds": 0.1, "validation_nll": 2.125}
    bare = {"stage": "fit", "done": 0, "total": None, "metrics": metrics}
    assert detail_text(bare) == "validation_nll 2.125"


def test_a_log_file_gets_a_line_a_stage_and_one_every_ten_seconds() -> None:
    clock = Clock()
    told, stream = plain(clock)
    with told:
        told.event("stage", "", {"name": "fit", "state": "start"})
        for second in range(1, 26):
            clock.now = float(second)
            told.event("progress", "", STEP | {"done": second, "total": 100, "seconds": clock.now})
        told.event("progress", "", STEP | {"done": 100, "total": 100})
        told.event("stage", "", {"name": "fit", "state": "done", "seconds": 25.2})
    lines = stream.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "fit",
        "fit: 10/100",
        "fit: 20/100",
        "fit: 100/100",
        "fit: done in 25 s",
    ]


def test_a_short_stage_is_not_worth_a_second_line() -> None:
    told, stream = plain(Clock())
    told.event("stage", "", {"name": "load", "state": "start"})
    told.event("stage", "", {"name": "load", "state": "done", "seconds": 0.4})
    assert stream.getvalue() == "load\n"


def test_a_log_file_gets_notes_and_warnings_as_they_are() -> None:
    told, stream = plain(Clock())
    told.event("note", "rows [a:1] were cut", {})
    told.event("warning", "the memory is short", {})
    assert stream.getvalue() == "rows [a:1] were cut\nwarning: the memory is short\n"


def test_a_terminal_gets_a_line_that_moves() -> None:
    stream = io.StringIO()
    with RichReporter(Console(file=stream, force_terminal=True, width=100)) as told:
        told.event("stage", "fitting", {"name": "fit", "state": "start"})
        told.event("progress", "", STEP)
        told.bars.refresh()
        told.event("stage", "", {"name": "fit", "state": "done", "seconds": 240})
    assert "50/200" in stream.getvalue()
    assert "0/?" not in stream.getvalue()
    assert "183 tokens/s" in stream.getvalue()
    assert "fit: done in 4 min 0 s" in stream.getvalue()


def test_programs_get_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with reporter(as_json=True) as told:
        told.event("stage", "fitting", {"name": "fit", "state": "start"})
        told.event("progress", "", STEP)
    assert isinstance(told, JsonLinesReporter)
    out, err = capsys.readouterr()
    assert out == ""
    first, second = (json.loads(line) for line in err.splitlines())
    assert (first["kind"], first["name"], second["loss"]) == ("stage", "fit", 1.25)


def test_an_event_of_unknown_kind_is_a_bug() -> None:
    with pytest.raises(KeyError):
        plain(Clock())[0].event("stagee", "", {})
