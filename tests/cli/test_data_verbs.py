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


def test_inspect_takes_columns_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "faq.csv").write_text("id,body,team\n1,my order is late,delivery\n")
    words = ["data", "inspect", str(tmp_path / "faq.csv")]
    assert main(words) == 2
    assert main([*words, "--field", "text=body", "--field", "field_label=team"]) == 0
    out, err = capsys.readouterr()
    assert "'body' as text, 'team' as label" in out
    assert main([*words, "--field", "text"]) == main([*words, "--field", "txt=body"]) == 2
    err = capsys.readouterr().err
    assert "--field text: this names no column" in err
    assert "Did you mean `data.0.field_text`" in err
    copy = tmp_path / "chat.jsonl"
    assert main(["data", "convert", words[2], str(copy), "--field", "text=body", "--field", "label=team"]) == 0
    assert "delivery" in copy.read_text()


def test_examples_are_cut_and_calls_look_like_calls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = {"function": {"name": "price", "arguments": {"part": "bridge"}}}
    turns = [{"role": "user", "content": "x" * 5000}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    tools = [{"type": "function", "function": {"name": "price"}}]
    pair = {"prompt": "which\nof \x1b[2Jthem?", "chosen": "this", "rejected": "that"}
    for name, row in (("calls", {"messages": turns, "tools": tools}), ("pairs", pair)):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
        assert main(["data", "inspect", str(tmp_path / f"{name}.jsonl")]) == 0
    out = capsys.readouterr().out
    assert "x… (5,000 characters)" in out
    assert '  assistant  price({"part": "bridge"})\n' in out
    assert "  tools      price\n" in out
    assert "  prompt    which\n            of \\x1b[2Jthem?\n  chosen    this\n" in out


def test_many_labels_are_counted_not_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": f"t{n}", "label": f"label-{n}"} for n in range(77)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["data", "inspect", str(tmp_path / "a.jsonl")]) == 0
    assert "and 57 more; --json has them all" in capsys.readouterr().out


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
