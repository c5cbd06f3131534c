"""Which requests are taken, and what each wrong one is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from script import HELLO, PRICE, body

from luthier.serve.chat.parse import HARMLESS, IGNORED, OBEYED, REFUSED, parse
from luthier.serve.refusals import BadRequest, Refusal, TooLong, Unanswered, UnknownModel

NAN, LARGE = float("nan"), 10**30
CALL = {"id": "1", "type": "function", "function": {"name": "price", "arguments": "{}"}}


def said(**turn: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", **turn}]}


def schema(**given: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": given}}


def tool(**function: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": function}]}


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"model": None}, "model", "is missing"),
    ({"model": 3}, "model", "must be text"),
    ({"messages": None}, "messages", "is missing"),
    ({"messages": "Hi"}, "messages", "must be a list"),
    ({"messages": []}, "messages", "is empty"),
    ({"messages": ["Hi"]}, "messages[0]", "must be an object"),
    ({"messages": [HELLO, {"content": "Hi"}]}, "messages[1].role", "is missing"),
    (said(role="tutor", content="Hi"), "messages[0].role", "one of system, developer, user"),
    (said(content=None), "messages[0].content", "is missing"),
    (said(content=3), "messages[0].content", "must be text, or a list of parts"),
    (said(content=["Hi"]), "messages[0].content[0]", "must be a part"),
    (said(content=[{"type": "image_url"}]), "messages[0].content[0]", "read text only"),
    (said(content=[{"type": "text"}]), "messages[0].content[0].text", "is missing"),
    (said(content="Hi", audio={"id": "x"}), "messages[0].audio", "leave it out"),
    (said(content="Hi", tool_calls=[CALL]), "messages[0].tool_calls", "only the assistant calls"),
    (said(role="assistant", tool_calls=[{}]), "messages[0].tool_calls[0]", "must be a call"),
    (
        said(role="assistant", tool_calls=[{"function": {"name": 3}}]),
        "messages[0].tool_calls[0].function.name",
        "must be",
    ),
    ({"temperature": -0.1}, "temperature", "a number from 0 to 2"),
    ({"temperature": "hot"}, "temperature", "a number from 0 to 2"),
    ({"temperature": NAN}, "temperature", "a number from 0 to 2"),
    ({"temperature": True}, "temperature", "a number from 0 to 2"),
    ({"top_p": 1.1}, "top_p", "from 0 to 1"),
    ({"presence_penalty": 3}, "presence_penalty", "from -2 to 2"),
    ({"frequency_penalty": float("inf")}, "frequency_penalty", "from -2 to 2"),
    ({"n": 0}, "n", "a whole number from 1 to 8"),
    ({"n": 9}, "n", "a whole number from 1 to 8"),
    ({"n": 1.5}, "n", "a whole number"),
    ({"max_tokens": 0}, "max_tokens", "a whole number from 1"),
    ({"max_completion_tokens": -1}, "max_completion_tokens", "a whole number from 1"),
    ({"max_tokens": LARGE}, "max_tokens", "a whole number from 1"),
    ({"max_tokens": float("inf")}, "max_tokens", "a whole number from 1"),
    ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens", "give one of them"),
    ({"seed": LARGE}, "seed", "a whole number"),
    ({"stop": 3}, "stop", "a list of at most 4"),
    ({"stop": ["a"] * 5}, "stop", "a list of at most 4"),
    ({"stop": ""}, "stop", "1 to 500 characters"),
    ({"stop": ["a", 3]}, "stop", "1 to 500 characters"),
    ({"logprobs": 3}, "logprobs", "true or false"),
    ({"top_logprobs": 3}, "top_logprobs", "needs `logprobs: true`"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "from 0 to 20"),
    ({"logit_bias": {"x": 1}}, "logit_bias", "keys are token ids"),
    ({"logit_bias": {"": 1}}, "logit_bias", "keys are token ids"),
    ({"logit_bias": {"7": 101}}, "logit_bias.7", "from -100 to 100"),
    ({"response_format": "json"}, "response_format", "an object"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "one of text, json_object, json_schema"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "is missing"),
    (schema(schema={}), "response_format.json_schema.name", "is missing"),
    (schema(name="x", schema={"type": "strange"}), "response_format.json_schema.schema", "not a JSON schema"),
    (tool(name="a b"), "tools[0].function.name", "letters, digits"),
    (tool(name="a", parameters={"type": 3}), "tools[0].function.parameters", "not a JSON schema"),
    ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0]", "must be a function"),
    ({"tools": [PRICE, PRICE]}, "tools", "two functions called 'price'"),
    ({"tools": [PRICE] * 129}, "tools", "at most 128"),
    ({"tool_choice": "auto"}, "tool_choice", "needs `tools`"),
    ({"tools": [PRICE], "tool_choice": "sometimes"}, "tool_choice", "none, auto, required"),
    ({"tools": [PRICE], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice", "has: price"),
    ({"tools": [PRICE], "response_format": {"type": "json_object"}}, "response_format", "together with `tools`"),
    ({"stream": "yes"}, "stream", "true or false"),
    ({"stream_options": {}}, "stream_options", "needs `stream: true`"),
    ({"stream": True, "stream_options": {"usage": True}}, "stream_options.usage", "leave it out"),
    ({"metadata": {"k": 3}}, "metadata.k", "must be text"),
    ({"metadata": {"k": "x" * 513}}, "metadata.k", "at most 512"),
    ({"metadata": {str(i): "" for i in range(17)}}, "metadata", "at most 16"),
    ({"temprature": 1}, "temprature", "did you mean `temperature`?"),
    ({"top_k": 40}, "top_k", "not a parameter of this service"),
    ({"functions": [{}]}, "functions", "give `tools` instead"),
    ({"modalities": ["audio"]}, "modalities", "text only"),
    ({"reasoning_effort": "high"}, "reasoning_effort", "cannot be set"),
]


@pytest.mark.parametrize(("fields", "param", "why"), WRONG, ids=[f"{param}: {why}" for _, param, why in WRONG])
def test_wrong_requests_are_told_what_is_wrong(fields: dict[str, Any], param: str, why: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(body(**fields))
    assert refused.value.param == param
    assert why in refused.value.message
    assert param in refused.value.message or param.split(".")[0].split("[")[0] in refused.value.message
    json.dumps(refused.value.body())


@pytest.mark.parametrize("given", [None, [], "text", 3])
def test_a_body_is_an_object(given: Any) -> None:
    with pytest.raises(BadRequest, match="JSON object"):
        parse(given)


def test_everything_that_is_obeyed_is_taken_at_once() -> None:
    request = parse(
        body(
            temperature=0, top_p=0.5, n=2, stop="x", max_completion_tokens=7.0, seed=-3, logprobs=True, top_logprobs=5,
            logit_bias={"7": -100}, presence_penalty=1, frequency_penalty=-1, tools=[PRICE], tool_choice="required",
            parallel_tool_calls=False, stream=True, stream_options={"include_usage": True, "include_obfuscation": True},
            store=True, metadata={"a": "b"}, user="me", response_format={"type": "text"},
        )
    )  # fmt: skip
    assert (request.temperature, request.top_p, request.n, request.stop) == (0.0, 0.5, 2, ("x",))
    assert (request.max_tokens, request.seed, request.top_logprobs, request.bias) == (7, -3, 5, {7: -100.0})
    assert (request.presence, request.frequency, request.schema) == (1.0, -1.0, None)
    assert (request.tools, request.forced, request.parallel_calls) == ((PRICE,), ("price",), False)
    assert (request.stream, request.include_usage, request.store, request.user) == (True, True, True, "me")
    assert request.metadata == {"a": "b"}


def test_nothing_given_and_nulls_are_the_same() -> None:
    nulls = {name: None for name in (*OBEYED, *IGNORED, *REFUSED, "unheard_of") if name not in ("model", "messages")}
    assert parse(body(**nulls)) == parse(body())
    harmless = parse(body(**HARMLESS, service_tier="flex", prompt_cache_key="x", stop=[], tool_choice="none"))
    assert harmless == parse(body())


def test_an_answer_can_be_sent_back_as_the_client_has_it() -> None:
    """`message.model_dump()` of the client holds all keys, most of them null."""
    answer = {
        "role": "assistant", "content": None, "refusal": None, "annotations": [], "audio": None, "function_call": None,
        "tool_calls": [{**CALL, "index": 0}],
    }  # fmt: skip
    result = {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "150"}]}
    request = parse(body(messages=[HELLO, answer, result]))
    assert request.messages[1:] == (
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "1", "content": "150"},
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(given_name=st.sampled_from([*OBEYED, *IGNORED, *REFUSED]), value=JSON)
def test_whatever_is_given_is_taken_or_refused(given_name: str, value: Any) -> None:
    refused = None
    try:
        parse(body(**{given_name: value}))
    except BadRequest as error:
        refused = error
    assert refused is None or refused.param


def test_the_page_names_every_parameter() -> None:
    page = (Path(__file__).parents[3] / "docs" / "chat.md").read_text()
    for name in (*OBEYED, *IGNORED, *REFUSED):
        assert f"`{name}`" in page


def test_refusals_are_errors_of_the_api() -> None:
    shapes = {
        type(error): (error.status, error.body()["error"])
        for error in (BadRequest("m", "p", "c"), TooLong("m"), UnknownModel("m"), Unanswered("m"))
    }
    invalid = {"message": "m.", "type": "invalid_request_error"}
    assert shapes == {
        BadRequest: (400, invalid | {"param": "p", "code": "c"}),
        TooLong: (400, invalid | {"param": "messages", "code": "context_length_exceeded"}),
        UnknownModel: (404, invalid | {"param": "model", "code": "model_not_found"}),
        Unanswered: (500, {"message": "m.", "type": "server_error", "param": None, "code": None}),
    }
    assert issubclass(BadRequest, Refusal)
