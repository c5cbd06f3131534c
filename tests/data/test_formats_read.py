"""Rows of every format become examples; faulty ones are named by row and column."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data.example import Example
from luthier.data.sources import read
from luthier.errors import DataError
from luthier.recipe.types import DataEntry

USER = {"role": "user", "content": "hi"}
BOT = {"role": "assistant", "content": "hello"}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@pytest.fixture
def load(tmp_path: Path):
    """Write rows as JSON Lines and read them; the entry's keys may be given."""

    def load(*rows: dict[str, Any], **entry: Any) -> list[Example]:
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return read(DataEntry(path="a.jsonl", **entry), tmp_path).examples

    return load


def called(arguments: Any, **more: Any) -> dict[str, Any]:
    return {
        "role": "assistant",
        "tool_calls": [{"function": {"name": "look", "arguments": arguments}, **more}],
    }


def test_chat_messages_tools_and_weights(load) -> None:
    call = {"role": "assistant", "content": None, **called('{"x": 1}', id="c1", type="function")}
    result = {"role": "tool", "tool_call_id": "c1", "content": ""}
    bad = {"role": "assistant", "content": "hm", "weight": 0}
    (example,) = load({"messages": [USER, bad, USER, call, result, BOT], "tools": [TOOL], "id": 7})
    assert example.messages == (USER, bad, USER, call, result, BOT)
    assert example.tools == (TOOL,)
    assert example.extra == {"id": 7}


def test_chat_is_brought_to_one_form(load) -> None:
    parts = {
        "role": "user",
        "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        "name": None,
    }
    old = {"role": "assistant", "content": None, "function_call": {"name": "look", "arguments": {"x": 1}}}
    (example,) = load({"messages": [parts, old, {"role": "function", "content": "1"}], "functions": [{"name": "f"}]})
    assert example.messages is not None
    assert example.messages[0] == {"role": "user", "content": "ab"}
    assert example.messages[1]["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"x": 1}'}
    assert example.messages[2] == {"role": "tool", "content": "1"}
    assert example.tools == ({"type": "function", "function": {"name": "f"}},)


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "must be a list of messages"),
        ([USER, {"role": "bot", "content": "x"}], "message 2 has the unknown role 'bot'"),
        ([USER, {"content": "x"}], "message 2 has no role"),
        ([{"role": "user", "content": ""}, BOT], "message 1 (user) is empty"),
        ([USER, {"role": "assistant", "content": None}], "message 2 (assistant) is empty"),
        ([USER, {"role": "tool", "content": None}], "message 2 (tool) is empty"),
        ([USER], "no assistant turn"),
        ([USER, BOT | {"weight": 0}], "every assistant turn in 'messages' has weight 0"),
        ([USER | {"weight": 1}, BOT], "message 1 (user) has weight 1"),
        ([USER, BOT | {"weight": 0.5}], "message 2 (assistant) has weight 0.5"),
        ([USER, "hello"], "message 2 must be an object"),
        ([{"role": "user", "content": {"a": 1}}, BOT], "the content of 'messages', message 1 must be text"),
        ([{"role": "user", "content": [{"type": "image_url"}]}, BOT], "parts that are not text"),
        ([called("{}") | USER, BOT], "message 1 has tool calls, and its role is 'user'"),
        ([USER, {"role": "assistant", "tool_calls": [{"id": "c"}]}], "has no function name"),
    ],
)
def test_faulty_messages(load, messages: list[Any], words: str) -> None:
    with pytest.raises(DataError) as caught:
        load({"messages": [USER, BOT]}, {"messages": messages})
    assert str(caught.value).startswith("a.jsonl:2: ")
    assert words in str(caught.value)


def test_tools_without_a_name_are_refused(load) -> None:
    with pytest.raises(DataError, match="a tool in 'tools' has no name"):
        load({"messages": [USER, BOT], "tools": [{"type": "function"}]})


def test_sharegpt_with_calls_and_observations(load) -> None:
    turns = [
        ("human", "hi"),
        ("function_call", '{"name": "look", "arguments": {"x": 1}}'),
        ("observation", "1"),
    ]
    conversation = [{"from": who, "value": said} for who, said in [*turns, ("gpt", "hello")]]
    tools = json.dumps([TOOL["function"]])
    (example,) = load({"conversations": conversation, "system": "be brief", "tools": tools})
    call = {"name": "look", "arguments": '{"x": 1}'}
    assert example.messages == (
        {"role": "system", "content": "be brief"},
        USER,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_2_0", "type": "function", "function": call}],
        },
        {"role": "tool", "content": "1", "tool_call_id": "call_2_0"},
        BOT,
    )
    assert example.tools == (TOOL,)


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        ({"from": "alien", "value": "x"}, "turn 2 has the unknown role 'alien'"),
        ({"from": ["gpt"], "value": "x"}, "turn 2 has the unknown role ['gpt']"),
        ({"value": "x"}, "turn 2 has no role"),
        ({"from": "gpt", "value": 3}, "the value of 'conversations', turn 2 must be text"),
        ({"from": "function_call", "value": "look()"}, "turn 2 is not JSON"),
        ({"from": "function_call", "value": "{}"}, "turn 2 is no function call"),
    ],
)
def test_faulty_sharegpt(load, turn: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=r"^a\.jsonl:1: ") as caught:
        load({"conversations": [{"from": "human", "value": "hi"}, turn, {"from": "gpt", "value": "x"}]})
    assert words in str(caught.value)


def test_broken_tools_text_is_refused(load) -> None:
    row = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "tools": "[{"}
    with pytest.raises(DataError, match="the column 'tools' is not JSON"):
        load(row)
    assert load(row | {"tools": ""})[0].tools is None


def test_alpaca_joins_instruction_and_input(load) -> None:
    with_input, without = load(
        {"instruction": "Add", "context": "1 2", "response": "3"},
        {"instruction": "Hi", "context": "", "response": "Ho"},
    )
    assert (with_input.prompt, with_input.completion) == ("Add\n\n1 2", "3")
    assert without.prompt == "Hi"


def test_prompt_and_completion_as_messages_learn_only_the_completion(load) -> None:
    (example,) = load({"prompt": [USER, BOT, USER], "completion": [BOT]})
    assert example.messages == (USER, BOT | {"weight": 0}, USER, BOT)


def test_kto_verdicts(load) -> None:
    rows = [{"prompt": "a", "completion": "b", "label": verdict} for verdict in (True, 0, "true", 1.0)]
    assert [example.desirable for example in load(*rows)] == [True, False, True, True]
    with pytest.raises(DataError, match=r"a\.jsonl:2: the column 'label' must be true or false"):
        load(rows[0], rows[0] | {"label": 3})


def test_preference_as_prompt_and_texts(load) -> None:
    (plain,) = load({"prompt": "a", "chosen": "b", "rejected": "c"})
    assert (plain.prompt, plain.chosen, plain.rejected) == ("a", "b", "c")
    (system,) = load({"system": "s", "question": "hi", "chosen": "hello", "rejected": "no"})
    assert system.messages == ({"role": "system", "content": "s"}, USER)
    assert system.chosen == (BOT,)


def test_preference_of_openai(load) -> None:
    asked = {"messages": [USER], "tools": [TOOL], "parallel_tool_calls": True}
    no = {"role": "assistant", "content": "no"}
    (example,) = load({"input": asked, "preferred_output": [BOT], "non_preferred_output": [no]})
    assert (example.messages, example.tools) == ((USER,), (TOOL,))
    assert (example.chosen, example.rejected) == ((BOT,), (no,))


def test_preference_as_two_conversations(load) -> None:
    no = {"role": "assistant", "content": "no"}
    (implicit,) = load({"chosen": [USER, BOT, USER, BOT], "rejected": [USER, BOT, USER, no]})
    assert (implicit.messages, implicit.chosen, implicit.rejected) == ((USER, BOT, USER), (BOT,), (no,))
    (both,) = load({"prompt": "hi", "chosen": [USER, BOT], "rejected": [USER, no]})
    assert (both.messages, both.chosen) == ((USER,), (BOT,))
    (equal,) = load({"chosen": [USER, BOT], "rejected": [USER, BOT]})
    assert (equal.messages, equal.chosen, equal.rejected) == ((USER,), (BOT,), (BOT,))
    (short,) = load({"prompt": "hi", "chosen": [BOT], "rejected": [no]})
    assert short.messages == (USER,)
    with pytest.raises(DataError, match="share no prompt"):
        load({"chosen": [USER, BOT], "rejected": [{"role": "user", "content": "?"}, BOT]})


def test_preference_as_transcripts(load) -> None:
    start = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: more?\n\nAssistant:"
    (example,) = load({"chosen": f"{start} yes\n\nplease", "rejected": f"{start} no"})
    assert example.messages == (USER, BOT, {"role": "user", "content": "more?"})
    assert example.chosen == ({"role": "assistant", "content": "yes\n\nplease"},)
    with pytest.raises(DataError, match="'chosen' stands without a prompt and is no transcript"):
        load({"chosen": "yes", "rejected": "no"})
    with pytest.raises(DataError, match="does not end with the Assistant"):
        load({"chosen": f"{start} a\n\nHuman: b", "rejected": f"{start} c"})


def test_labels_become_text(load) -> None:
    values: list[Any] = ["spam ", 3, True, 2.0, ["b", 1, "b"], []]
    examples = load(*({"text": "x", "label": value} for value in values))
    assert [example.label for example in examples[:4]] == ["spam", "3", "true", "2"]
    assert [example.labels for example in examples[4:]] == [("b", "1"), ()]


@pytest.mark.parametrize(
    ("value", "words"),
    [(" ", "is blank"), (None, "is empty (null)"), (1.5, "must be a label"), ({"a": 1}, "must be a label")],
)
def test_faulty_labels(load, value: Any, words: str) -> None:
    with pytest.raises(DataError, match=r"^a\.jsonl:2: ") as caught:
        load({"text": "x", "label": "a"}, {"text": "x", "label": value})
    assert words in str(caught.value)
