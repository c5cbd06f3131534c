"""What is wrapped, what is never cut, and what data cannot do to a terminal."""

from __future__ import annotations

import pytest

from luthier.cli.screen import bullets, facts, harmless, table

RUN = "20261121-151803-customer-support-tickets-2026-with-a-long-name-4589"
WHY = "the longest row has 3,748 tokens, and the model reads as many as 8,192 of them at once"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 60 columns."""
    monkeypatch.setattr("luthier.cli.screen.terminal_width", lambda: 60)


def test_the_last_column_is_wrapped_between_words(terminal: None, capsys: pytest.CaptureFixture[str]) -> None:
    table(["key", "value", "why"], [("train.metric_for_best_model", 3752, WHY)], right=["value"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "key                          value  why"
    assert lines[1].startswith("train.metric_for_best_model   3752  the longest row")
    assert max(map(len, lines)) <= 60
    assert " ".join(line[36:] for line in lines[1:]) == WHY


def test_ids_are_whole_in_a_narrow_terminal(terminal: None, capsys: pytest.CaptureFixture[str]) -> None:
    table(["run", "model"], [(RUN, "tickets@1"), ("r", RUN)])
    assert capsys.readouterr().out.count(RUN) == 2


def test_elsewhere_a_row_is_a_line_without_space_at_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    table(["run", "alias"], [(RUN, ""), ("two\nlines", WHY)])
    bullets([WHY])
    assert capsys.readouterr().out.splitlines() == [
        f"run{' ' * (len(RUN) - 3)}  alias",
        RUN,
        f"two lines{' ' * (len(RUN) - 9)}  {WHY}",
        f"- {WHY}",
    ]


def test_prose_is_wrapped_and_commands_are_not(terminal: None, capsys: pytest.CaptureFixture[str]) -> None:
    facts([("why", WHY), ("none", None)], wrap=True)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 60
    facts([("command", f"luthier run {RUN}.yaml"), ("text", "one\n\ntwo")])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"command  luthier run {RUN}.yaml", "text     one", "", "         two"]
    bullets([WHY])
    assert [line[:2] for line in capsys.readouterr().out.splitlines()] == ["- ", "  "]


def test_wide_letters_take_two_columns(capsys: pytest.CaptureFixture[str]) -> None:
    table(["label", "rows"], [("配送", 2), ("x", 1)], right=["rows"])
    assert capsys.readouterr().out == "label  rows\n配送      2\nx         1\n"


def test_control_characters_are_spelt_out() -> None:
    assert harmless("a\x1b[2J\r\u202eb\nc – é 😀") == "a\\x1b[2J\\r\\u202eb\nc – é 😀"
