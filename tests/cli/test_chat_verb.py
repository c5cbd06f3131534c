"""`luthier chat`: what is printed, what is remembered, what the commands do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from luthier.cli import main
from luthier.cli.chat import Talk, converse
from luthier.serve.refusals import BadRequest


class Model:
    """Answers each question with the next of `answers`, two chunks each; an exception is raised after the first."""

    def __init__(self, *answers: str | BaseException) -> None:
        self.answers, self.bodies = list(answers), list[dict[str, Any]]()

    def __call__(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self.bodies.append(body)
        answer = self.answers.pop(0)
        text = answer if isinstance(answer, str) else "half"
        yield chunk({"role": "assistant", "content": text[:3]})
        if not isinstance(answer, str):
            raise answer
        yield chunk({"content": text[3:]})
        yield chunk({}, "stop")
        yield chunk({}) | {"choices": [], "usage": {"total_tokens": 7}}


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {"id": "chatcmpl-1", "model": "tickets@3", "created": 1, "choices": [choice]}


def talk(model: Model, *lines: str, system: str = "") -> list[list[tuple[str, str]]]:
    """The (role, content) of the messages of each request that these lines led to."""
    rest = iter(lines)

    def read(prompt: str) -> str:
        try:
            return next(rest)
        except StopIteration:
            raise EOFError from None

    converse(Talk(model, {"model": "tickets"}, system), read)
    return [[(turn["role"], turn["content"]) for turn in body["messages"]] for body in model.bodies]


def test_a_conversation_is_remembered(capsys: pytest.CaptureFixture[str]) -> None:
    asked = talk(Model("Hello!", "150 euros."), "Hi", "", "  Price? ", "/quit", "not asked")
    assert asked[0] == [("user", "Hi")]
    assert asked[1] == [("user", "Hi"), ("assistant", "Hello!"), ("user", "Price?")]
    assert len(asked) == 2
    assert capsys.readouterr().out == "Hello!\n150 euros.\n"


def test_the_commands_do_as_they_say(capsys: pytest.CaptureFixture[str]) -> None:
    asked = talk(Model("a", "b", "c"), "1", "/system Be brief.", "2", "/reset", "/what", "/system", "3")
    assert asked[1] == [("system", "Be brief."), ("user", "1"), ("assistant", "a"), ("user", "2")]
    assert asked[2] == [("user", "3")]
    assert "/reset forgets" in capsys.readouterr().err


def test_an_interrupted_answer_is_kept_as_far_as_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    asked = talk(Model(KeyboardInterrupt(), "Yes."), "1", "2")
    assert asked[1] == [("user", "1"), ("assistant", "hal"), ("user", "2")]
    assert capsys.readouterr().out == "hal …\nYes.\n"


def test_what_is_refused_is_told_and_forgotten(capsys: pytest.CaptureFixture[str]) -> None:
    asked = talk(Model(BadRequest("too long"), "Yes."), "1", "2")
    assert asked[1] == [("user", "2")]
    assert "error: too long." in capsys.readouterr().err


def test_an_answer_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    talk(Model("a\x1b[2Jb\nc"), "1")
    assert capsys.readouterr().out == "a\\x1b[2Jb\nc\n"


def test_one_answer_is_a_completion() -> None:
    found = json.loads(Talk(Model("150 euros."), {"model": "tickets"}, "Be brief.").completion("Price?"))
    assert found["choices"][0]["message"]["content"] == "150 euros."
    assert found["usage"] == {"total_tokens": 7}
    assert (found["id"], found["model"]) == ("chatcmpl-1", "tickets@3")


def test_json_needs_a_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "--json"]) == 2
    assert "--prompt TEXT" in capsys.readouterr().err


def test_a_server_that_was_named_must_answer(home: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "--url", "http://127.0.0.1:9/v1", "--prompt", "Hi"]) == 2
    assert "no server answers" in capsys.readouterr().err
