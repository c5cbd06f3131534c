"""Every verb's help: it works, fits a terminal, and begins with one line that says what the verb does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from luthier.cli import main
from luthier.cli.app import build

COLUMNS = 80
SUMMARY = 64


def verbs(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, inner in getattr(command, "commands", {}).items():
        yield " ".join((*words, name)), inner
        yield from verbs(inner, (*words, name))


VERBS = dict(verbs(build()))


@pytest.mark.parametrize("verb", VERBS)
def test_help_fits_and_is_complete(verb: str, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    assert main([*verb.split(), "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= COLUMNS
    assert all(parameter.help for parameter in VERBS[verb].params)


@pytest.mark.parametrize("verb", VERBS)
def test_the_first_line_is_a_short_sentence(verb: str) -> None:
    first = VERBS[verb].help.splitlines()[0]
    assert first.endswith(".")
    assert len(first) <= SUMMARY


@pytest.mark.parametrize("verb", [name for name, command in VERBS.items() if not hasattr(command, "commands")])
def test_every_verb_that_ends_takes_json(verb: str) -> None:
    options = {option for parameter in VERBS[verb].params for option in parameter.opts}
    assert "--json" in options
