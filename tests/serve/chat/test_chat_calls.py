"""Tool calls, in each form that templates write them: read, streamed and forced."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import validate
from script import CHATML, HERMES, LLAMA, MISTRAL, PRICE, Served, body, served

from luthier.serve.chat import answer, parse, stream
from luthier.serve.chat.calls import CallFinder, CallForm, call_form, forced_schema

TAGGED = CallForm("<tool_call>", "</tool_call>", "<tool_call>\n", "arguments")
LISTED = CallForm("[TOOL_CALLS]", "", "[TOOL_CALLS] [", "arguments")
BARE = CallForm("", "", "", "parameters")
ONE = '{"name": "price", "arguments": {"part": "bridge"}}'
TEXTS = {
    HERMES: f"Let me see.\n<tool_call>\n{ONE}\n</tool_call>\n<tool_call>\n{ONE}\n</tool_call>\n",
    MISTRAL: f"[TOOL_CALLS] [{ONE}, {ONE}]",
    LLAMA: f"{ONE}; {ONE}".replace("arguments", "parameters"),
}
NAMES = {HERMES: "hermes", MISTRAL: "mistral", LLAMA: "llama"}


def whole(model: Served, **fields: Any) -> dict[str, Any]:
    found = asyncio.run(answer(model, parse(body(tools=[PRICE], **fields))))
    return found["choices"][0]


def deltas(model: Served, **fields: Any) -> list[dict[str, Any]]:
    async def collect() -> list[dict[str, Any]]:
        asked = parse(body(tools=[PRICE], stream=True, **fields))
        return [chunk["choices"][0] async for chunk in stream(model, asked)]

    return asyncio.run(collect())


def test_the_form_is_that_of_the_template(tiny_llama: Path) -> None:
    forms = {template: call_form(served(tiny_llama, template=template).renderer) for template in NAMES}
    assert forms == {HERMES: TAGGED, MISTRAL: LISTED, LLAMA: BARE}
    assert call_form(served(tiny_llama, template=CHATML).renderer) is None


@pytest.mark.parametrize("template", TEXTS, ids=NAMES.get)
def test_calls_are_read(tiny_llama: Path, template: str) -> None:
    choice = whole(served(tiny_llama, TEXTS[template], template=template))
    assert choice["finish_reason"] == "tool_calls"
    calls = choice["message"]["tool_calls"]
    functions = [call["function"] for call in calls]
    assert functions == [{"name": "price", "arguments": '{"part": "bridge"}'}] * 2
    assert len({call["id"] for call in calls}) == 2
    assert choice["message"]["content"] == ("Let me see." if template == HERMES else None)


@pytest.mark.parametrize("template", TEXTS, ids=NAMES.get)
def test_calls_are_streamed(tiny_llama: Path, template: str) -> None:
    found = deltas(served(tiny_llama, TEXTS[template], template=template))
    calls = [call for choice in found for call in choice["delta"].get("tool_calls", ())]
    assert [call["index"] for call in calls] == [0, 1]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"part": "bridge"}] * 2
    said = "".join(choice["delta"].get("content") or "" for choice in found)
    assert said == ("Let me see." if template == HERMES else "")
    assert found[-1]["finish_reason"] == "tool_calls"
    assert found[0]["delta"]["role"] == "assistant"


@pytest.mark.parametrize("template", TEXTS, ids=NAMES.get)
def test_what_is_no_call_is_text(tiny_llama: Path, template: str) -> None:
    for text in ("No call.", ' {"days": 3}', TEXTS[template].replace("price", "other"), TEXTS[template][:-25]):
        model = served(tiny_llama, text, template=template)
        choice, streamed = whole(model), deltas(model)
        said = choice["message"]["content"] or ""
        assert said == "".join(part["delta"].get("content") or "" for part in streamed)
        if "tool_calls" in choice["message"]:
            assert template == HERMES, "of two calls, the first is whole"
        else:
            assert (said, choice["finish_reason"]) == (text, "stop")


def test_a_special_token_may_open_a_call(tiny_llama: Path) -> None:
    model = served(tiny_llama, template=MISTRAL)
    model.renderer.tokens.tokenizer.add_special_tokens(["[TOOL_CALLS]"])
    model.renderer.tokens.__dict__.pop("added", None)
    model.engine.answers = [model.renderer.encode(TEXTS[MISTRAL])]
    assert len(whole(model)["message"]["tool_calls"]) == 2


def test_one_call_only_where_they_may_not_be_parallel(tiny_llama: Path) -> None:
    model = served(tiny_llama, TEXTS[HERMES])
    choice = whole(model, parallel_tool_calls=False)
    assert len(choice["message"]["tool_calls"]) == 1
    assert choice["finish_reason"] == "tool_calls"
    assert len(model.engine.cancelled) == 1


def test_without_a_choice_to_call_nothing_is_told_or_read(tiny_llama: Path) -> None:
    model = served(tiny_llama, TEXTS[HERMES])
    choice = whole(model, tool_choice="none")
    assert choice["message"]["content"] == TEXTS[HERMES]
    assert model.engine.asks[0].prompt == model.renderer.prompt("Hello?")


@pytest.mark.parametrize("template", TEXTS, ids=NAMES.get)
def test_a_call_can_be_forced(tiny_llama: Path, template: str) -> None:
    one = ONE if template != LLAMA else ONE.replace("arguments", "parameters")
    model = served(tiny_llama, one, template=template)
    named = {"type": "function", "function": {"name": "price"}}
    for asked in ("required", named):
        choice = whole(model, tool_choice=asked)
        assert choice["message"]["tool_calls"][0]["function"] == {"name": "price", "arguments": '{"part": "bridge"}'}
        assert choice["message"]["content"] is None
        assert choice["finish_reason"] == "tool_calls"
    validate(json.loads(one), model.engine.asks[0].schema)
    cut = served(tiny_llama, one[:20], template=template, finish="length")
    assert whole(cut, tool_choice="required")["message"]["content"] == one[:20]


def test_references_of_a_schema_lead_to_where_it_stands() -> None:
    inner = {"type": "object", "properties": {"p": {"$ref": "#/$defs/P"}}, "$defs": {"P": {"type": "integer"}}}
    good, bad = ({"name": "b", "arguments": {"p": value}} for value in (3, "x"))
    for tools in ({"b": inner}, {"a": {"type": "object"}, "b": inner}):
        schema = forced_schema(TAGGED, tools)
        validate(good, schema)
        with pytest.raises(Exception, match=r"not of type|not valid under any"):
            validate(bad, schema)


SAID = st.text(alphabet="ab <tool_call>/{}\n", max_size=12)
CALLED = st.sampled_from([f"<tool_call>{ONE}</tool_call>", "<tool_call>", "</tool_call>", ONE])


@given(parts=st.lists(st.one_of(SAID, CALLED)), cuts=st.data())
def test_where_the_parts_are_cut_does_not_matter(parts: list[str], cuts: st.DataObject) -> None:
    text = "".join(parts)
    at = sorted(cuts.draw(st.lists(st.integers(0, len(text)))))
    pieces = [text[a:b] for a, b in zip([0, *at], [*at, len(text)], strict=True)]
    for form in (TAGGED, BARE, LISTED):
        assert read(form, pieces) == read(form, [text])


def read(form: CallForm, pieces: list[str]) -> tuple[str, list[Any]]:
    finder = CallFinder(form, ("price",))
    found = [*(finder.add(piece) for piece in pieces), finder.add("", last=True)]
    return "".join(said for said, _ in found), [call for _, calls in found for call in calls]
