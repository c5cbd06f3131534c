"""What a run prints at its end."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from luthier.evaluate.report.measures import measure
from luthier.evaluate.report.terminal import terminal_summary

HERE = Path(__file__).parent
NAMES = ("sample_document", "sample_document_hold", "sample_document_sparse")
DOCUMENTS = {name: json.loads((HERE / f"{name}.json").read_text(encoding="utf-8")) for name in NAMES}


def printed(document: dict) -> str:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(terminal_summary(document), crop=False)
    return console.export_text()


@pytest.mark.parametrize("name", NAMES)
def test_it_fits_25_lines_of_80_columns(name):
    lines = printed(DOCUMENTS[name]).splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines[:-1])) <= 80


def test_long_texts_do_not_make_it_longer():
    long = ["a reason that goes on and on " * 9] * 9
    document = DOCUMENTS["sample_document_hold"] | {"reasons": long, "next": long, "warnings": long}
    assert len(printed(document).splitlines()) <= 25


def test_it_says_what_was_found_and_where_the_report_lies():
    text = printed(DOCUMENTS["sample_document"]).replace("\u00a0", " ")
    assert text.startswith("Ship  sample-tickets@3")
    assert "Tuned model" in text
    assert "61.8 %  [52.5, 70.4]" in text
    assert "+20.9 points [+11.8, +29.1] against few-shot prompting, p < 0.001" in text
    assert "General questions: −1.7 points [−5.0, +1.7], within the margin" in text
    assert text.splitlines()[-1] == f"Report      {DOCUMENTS['sample_document']['report']}"


def test_a_forecast_that_was_off_is_named():
    text = printed(DOCUMENTS["sample_document"]).replace("\u00a0", " ")
    (line,) = [line for line in text.splitlines() if line.startswith("Forecast")]
    assert line.rstrip() == "Forecast    off. Whole job: 27 min 10 s forecast, 34 min 28 s taken (−21 %)"
    assert "Forecast" not in printed(DOCUMENTS["sample_document"] | {"forecast_error": {"forecast": {"seconds": 0.2}}})


def test_a_long_path_of_the_report_is_whole():
    path = f"/home/{'folder/' * 20}report.html"
    assert printed(DOCUMENTS["sample_document"] | {"report": path}).splitlines()[-1].endswith(path)


def test_a_hold_says_why():
    text = printed(DOCUMENTS["sample_document_hold"])
    assert text.startswith("Hold")
    assert "text_nll lies past its margin" in text


def test_a_reason_of_the_gate_fits_without_being_cut():
    reason = (
        "On exact_match the tuned model is 0.0 points better than few-shot prompting (n = 110); the 95% interval, "
        "-29.9 to +29.9, reaches down to 0 or below."
    )
    text = printed(DOCUMENTS["sample_document_hold"] | {"reasons": [reason]})
    assert "…" not in text.partition("Why")[2].partition("Next")[0]
    assert "reaches down to 0 or below." in " ".join(text.split())


def test_what_is_missing_is_named():
    text = printed({})
    assert "No verdict" in text
    assert "No held-out scores" in text
    assert "not measured: no baseline was evaluated on the same items" in text
    assert "time not measured, memory not measured" in text


def test_names_cannot_steer_the_terminal():
    text = printed(DOCUMENTS["sample_document"] | {"model": "\x1b[2Jgone", "next": ["[red]plain[/red]\x07\r"]})
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[red]plain[/red]" in text


@pytest.mark.parametrize("name", NAMES[:2])
def test_a_second_objective_has_a_line_of_its_own(name):
    own = DOCUMENTS[name]
    second = {key: own[key] for key in ("metric", "solvers", "base", "tuned", "best_baseline", "delta", "deltas")}
    text = printed(own | {"beside": second | {"objective": "classify"}})
    (line,) = [line for line in text.splitlines() if line.startswith("Beside")]
    assert line.removeprefix("Beside").strip().startswith(measure(own["metric"]).title)
    assert len(text.splitlines()) <= 25
