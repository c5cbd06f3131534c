"""How a command line may end: exit codes, and what is said on which stream."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from luthier.cli import main
from luthier.errors import DataError, LuthierError, TrainingError

WRONG_ROW = DataError("the row has no text", "tickets.jsonl:7", "Fill the column `text`")


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, home):
    """`job(error)` makes `luthier check` raise it."""

    def plant(error: BaseException) -> None:
        def check(*_: object) -> None:
            raise error

        monkeypatch.setitem(sys.modules, "luthier.jobs.check", SimpleNamespace(check=check))

    return plant


def test_wrong_input_is_one_paragraph_and_code_2(job, capsys) -> None:
    job(WRONG_ROW)
    assert main(["check", "recipe.yaml"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: tickets.jsonl:7: the row has no text. Fill the column `text`.\n"


def test_wrong_input_is_a_document_with_json(job, capsys) -> None:
    job(WRONG_ROW)
    assert main(["check", "recipe.yaml", "--json"]) == 2
    out, err = capsys.readouterr()
    what = {"what": "the row has no text", "where": "tickets.jsonl:7", "mend": "Fill the column `text`"}
    assert json.loads(out) == {"error": what}
    assert err.startswith("error: tickets.jsonl:7")


def test_what_data_says_does_not_steer_the_terminal(job, capsys) -> None:
    job(DataError("the column te\x1b[2Jxt\nis \u202eodd", "new\nline.csv", "Rename it"))
    assert main(["check", "recipe.yaml"]) == 2
    err = capsys.readouterr().err
    assert err == "error: new line.csv: the column te\\x1b[2Jxt is \\u202eodd. Rename it.\n"


def test_a_fit_that_cannot_go_on_is_code_1(job, capsys) -> None:
    job(TrainingError("the loss is not finite at step 3"))
    assert main(["check", "recipe.yaml"]) == 1
    assert capsys.readouterr().err == "error: the loss is not finite at step 3.\n"


def test_an_interrupt_is_code_130_and_says_how_to_go_on(job, capsys) -> None:
    job(KeyboardInterrupt())
    assert main(["check", "recipe.yaml"]) == 130
    assert "run the same command to go on" in capsys.readouterr().err


def test_a_bug_is_not_dressed_up(job) -> None:
    job(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(["check", "recipe.yaml"])


def test_a_pipe_that_breaks_inside_a_job_is_a_bug(job, capfd) -> None:
    job(BrokenPipeError())
    with pytest.raises(BrokenPipeError):
        main(["check", "recipe.yaml"])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("chekc", "Did you mean 'check'? See `luthier --help`."),
        ("check", "Missing argument 'RECIPE'. See `luthier check --help`."),
        ("check r.yaml --sett a=1", "No such option: --sett"),
        ("runs lst", "Did you mean 'list'? See `luthier runs --help`."),
        ("runs list --limit many", "'--limit'"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(line: str, said: str, capsys) -> None:
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert said in err
    assert len(err.splitlines()) == 1


def test_wrong_usage_is_a_document_with_json(capsys) -> None:
    assert main(["check", "--json"]) == 2
    assert "RECIPE" in json.loads(capsys.readouterr().out)["error"]["what"]


@pytest.mark.parametrize("line", ["", "--help", "runs", "runs --help", "--version"])
def test_asking_is_no_mistake(line: str, capsys) -> None:
    assert main(line.split()) == 0
    out, err = capsys.readouterr()
    assert out
    assert not err


def test_every_error_class_names_a_documented_exit_code() -> None:
    assert {kind.exit_code for kind in [LuthierError, *LuthierError.__subclasses__()]} <= {1, 2}


def test_a_reader_that_leaves_is_no_traceback() -> None:
    program = "import sys; from luthier.cli import main; sys.exit(main(['methods']))"
    left = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert left.stdout is not None
    assert left.stderr is not None
    left.stdout.close()
    said = left.stderr.read()
    assert (left.wait(timeout=60), said) == (1, b"")
    left.stderr.close()
