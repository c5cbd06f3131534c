"""Chat on the engine that trains and evaluates, in a process of its own, with a tiny random model."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate
from script import PRICE, Served, body, served

from luthier.serve.chat import answer, parse, stream
from luthier.serve.engines.remote import Remote
from luthier.serve.refusals import BadRequest

SCHEMA = {
    "type": "object",
    "properties": {"part": {"enum": ["bridge", "post"]}, "days": {"type": "integer", "minimum": 1, "maximum": 99}},
    "required": ["part", "days"],
    "additionalProperties": False,
}
STRICT = {
    "type": "function",
    "function": {"name": "repair", "parameters": {"$ref": "#/$defs/Repair", "$defs": {"Repair": SCHEMA}}},
}


def shaped(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "repair", "schema": schema}}


@pytest.mark.slow
def test_a_random_model_answers_as_it_is_asked(tiny_llama: Path) -> None:
    """In one process, since it takes seconds to start; a random model writes the schema only if it must."""

    async def talk() -> None:
        engine = await Remote.open({"engine": "torch", "base": str(tiny_llama), "name": "tiny"})
        try:
            model = replace(served(tiny_llama), engine=engine, adapter=None)
            await schemas(model)
            await calls(model)
            await seeds(model)
            await streams(model)
        finally:
            await engine.close()

    asyncio.run(talk())


async def ask(model: Served, **fields: Any) -> dict[str, Any]:
    return await answer(model, parse(body(**fields)))  # type: ignore[arg-type]


async def schemas(model: Served) -> None:
    found = await ask(model, response_format=shaped(SCHEMA), n=4, seed=1, max_tokens=200)
    for choice in found["choices"]:
        validate(json.loads(choice["message"]["content"]), SCHEMA)
        assert choice["finish_reason"] == "stop"
    with pytest.raises(BadRequest, match="`response_format`"):
        await ask(model, response_format=shaped({"not": {"type": "string"}}))


async def calls(model: Served) -> None:
    found = await ask(model, tools=[PRICE, STRICT], tool_choice="required", n=4, seed=1, max_tokens=300)
    whole = [choice for choice in found["choices"] if choice["finish_reason"] != "length"]
    for choice in whole:
        (call,) = choice["message"]["tool_calls"]
        parameters = {"price": PRICE, "repair": STRICT}[call["function"]["name"]]["function"]["parameters"]
        validate(json.loads(call["function"]["arguments"]), parameters)
    named = {"type": "function", "function": {"name": "repair"}}
    found = await ask(model, tools=[PRICE, STRICT], tool_choice=named, max_tokens=300)
    (call,) = found["choices"][0]["message"]["tool_calls"]
    validate(json.loads(call["function"]["arguments"]), SCHEMA)


async def seeds(model: Served) -> None:
    found = [await ask(model, seed=seed, n=2, max_tokens=30) for seed in (5, 5, 6)]
    first, again, other = ([choice["message"]["content"] for choice in each["choices"]] for each in found)
    assert first == again != other
    assert first[0] != first[1]


async def streams(model: Served) -> None:
    asked = {"seed": 3, "max_tokens": 60, "logprobs": True, "top_logprobs": 3}
    whole = await ask(model, **asked)
    request = parse(body(stream=True, stream_options={"include_usage": True}, **asked))
    chunks = [chunk async for chunk in stream(model, request)]  # type: ignore[arg-type]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    assert text == whole["choices"][0]["message"]["content"]
    assert chunks[-1]["usage"] == whole["usage"]
    entries = [entry for choice in choices if choice["logprobs"] for entry in choice["logprobs"]["content"]]
    assert entries == whole["choices"][0]["logprobs"]["content"]
    assert all(len(entry["top_logprobs"]) == 3 and entry["logprob"] <= 0 for entry in entries)
    stop = text[10:12]
    cut = await ask(model, stop=stop, **asked)
    assert cut["choices"][0]["message"]["content"] == text[: text.index(stop)]
