"""`luthier data` on small files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.cli import main
from luthier.store import Home, datasets

ROWS = [
    ("my order is late", "delivery"),
    ("I want my money back", "refund"),
    ("my order is late", "delivery"),
]


@pytest.fixture
def tickets(tmp_path: Path) -> Path:
    path = tmp_path / "tickets.jsonl"
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in ROWS))
    return path


def test_inspect_says_what_the_file_is(tickets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "inspect", str(tickets), "--rows", "1"]) == 0
    out = capsys.readouterr().out
    assert "classification" in out
    assert "3, 1 of them repeated" in out
    assert "delivery     2" in out
    assert "tickets.jsonl:1" in out
    assert "tickets.jsonl:2" not in out


def test_inspect_json_holds_the_examples(tickets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "inspect", str(tickets), "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["labels"] == {"delivery": 2, "refund": 1}
    assert document["examples"][1]["label"] == "refund"


def test_an_unknown_type_is_wrong_input(tickets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "inspect", str(tickets), "--type", "clasification"]) == 2
    assert "classification" in capsys.readouterr().err


def test_convert_writes_rows_and_spares_an_existing_file(tickets: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "chat.jsonl"
    assert main(["data", "convert", str(tickets), str(out)]) == 0
    first = json.loads(out.read_text().splitlines()[0])
    assert [message["content"] for message in first["messages"]] == ["my order is late", "delivery"]
    assert main(["data", "convert", str(tickets), str(out)]) == 2
    assert main(["data", "convert", str(tickets), str(out), "--force", "--to", "alpaca"]) == 0
    assert json.loads(out.read_text().splitlines()[0])["output"] == "delivery"


def test_a_row_that_cannot_be_said_writes_nothing(tickets: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "pairs.jsonl"
    assert main(["data", "convert", str(tickets), str(out), "--to", "preference"]) == 2
    assert "tickets.jsonl:1" in capsys.readouterr().err
    assert not out.exists()
    assert main(["data", "convert", str(tickets), str(out), "--to", "prefrence"]) == 2


def test_versions_lists_what_runs_wrote(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "versions"])
    assert "luthier run RECIPE" in capsys.readouterr().out
    datasets.add(home, "ds-1", {"parents": [], "splits": {"train": 8, "test": 2}}, "00")
    main(["data", "versions"])
    assert "ds-1     train 8, test 2" in capsys.readouterr().out
