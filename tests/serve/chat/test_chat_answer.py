"""What a client reads of an answer: whole, and in chunks, which say the same."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from script import PRICE, Served, body, served

from luthier.errors import EngineLost
from luthier.serve.chat import answer, cache_key, parse, stream
from luthier.serve.refusals import BadRequest, TooLong, Unanswered


def whole(model: Served, **fields: Any) -> dict[str, Any]:
    return asyncio.run(answer(model, parse(body(**fields))))


def chunks(model: Served, **fields: Any) -> list[dict[str, Any]]:
    async def collect() -> list[dict[str, Any]]:
        return [chunk async for chunk in stream(model, parse(body(stream=True, **fields)))]

    return asyncio.run(collect())


def text_of(found: list[dict[str, Any]], index: int = 0) -> str:
    choices = [choice for chunk in found for choice in chunk["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def test_an_answer_is_a_chat_completion(tiny_llama: Path) -> None:
    model = served(tiny_llama, "About 150 euros.")
    found = whole(model, metadata={"a": "b"})
    assert found["object"] == "chat.completion"
    assert found["id"].startswith("chatcmpl-")
    assert found["model"] == "tickets@3"
    assert found["metadata"] == {"a": "b"}
    (choice,) = found["choices"]
    assert choice["message"] == {"role": "assistant", "content": "About 150 euros.", "refusal": None}
    assert (choice["finish_reason"], choice["logprobs"]) == ("stop", None)
    (ask,) = model.engine.asks
    assert found["usage"] == {
        "prompt_tokens": len(ask.prompt),
        "completion_tokens": len(model.engine.answers[0]),
        "total_tokens": len(ask.prompt) + len(model.engine.answers[0]),
    }
    assert ask.prompt == model.renderer.prompt("Hello?")
    assert ask.stop_ids == model.renderer.eos_ids
    assert (ask.adapter, ask.temperature, ask.seed) == ("abc", 1.0, None)


def test_chunks_say_what_the_answer_says(tiny_llama: Path) -> None:
    model = served(tiny_llama, "Ärger? 150 €, 🎻!")
    found = chunks(model)
    assert text_of(found) == "Ärger? 150 €, 🎻!"
    assert found[0]["choices"][0]["delta"]["role"] == "assistant"
    assert not any("role" in chunk["choices"][0]["delta"] for chunk in found[1:])
    assert [chunk["choices"][0]["finish_reason"] for chunk in found] == [None] * (len(found) - 1) + ["stop"]
    assert len({chunk["id"] for chunk in found}) == 1
    assert not any("\ufffd" in (chunk["choices"][0]["delta"].get("content") or "") for chunk in found)
    assert model.engine.cancelled == []


def test_usage_comes_last_where_it_is_asked_for(tiny_llama: Path) -> None:
    model = served(tiny_llama, "Hello.")
    found = chunks(model, stream_options={"include_usage": True})
    assert found[-1]["choices"] == []
    assert found[-1]["usage"] == whole(model)["usage"]
    assert all(chunk["usage"] is None for chunk in found[:-1])
    assert "usage" not in chunks(model)[-1]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_stop_string_ends_the_answer_and_the_ask(tiny_llama: Path, streamed: bool) -> None:
    model = served(tiny_llama, "one two three four five six seven")
    fields = {"stop": ["ree f", "nowhere"]}
    found = chunks(model, **fields) if streamed else [whole(model, **fields)]
    text = text_of(found) if streamed else found[0]["choices"][0]["message"]["content"]
    assert text == "one two th"
    assert found[-1]["choices"][0]["finish_reason"] == "stop"
    assert len(model.engine.cancelled) == 1
    assert model.engine.handed_out < len(model.engine.answers[0])


def test_several_answers_have_seeds_of_their_own(tiny_llama: Path) -> None:
    model = served(tiny_llama, "one", "two", "three")
    found = whole(model, n=3, seed=7)
    assert [choice["message"]["content"] for choice in found["choices"]] == ["one", "two", "three"]
    assert [choice["index"] for choice in found["choices"]] == [0, 1, 2]
    seeds = [ask.seed for ask in model.engine.asks]
    assert len({*seeds}) == 3
    assert all(0 <= seed < 2**31 for seed in seeds)
    again = served(tiny_llama, "one")
    whole(again, seed=7)
    assert again.engine.asks[0].seed == seeds[0]
    assert len({ask.id for ask in model.engine.asks}) == 3


def test_several_answers_stream_side_by_side(tiny_llama: Path) -> None:
    model = served(tiny_llama, "a brief one", "another that is long")
    found = chunks(model, n=2, stream_options={"include_usage": True})
    assert [text_of(found, index) for index in (0, 1)] == ["a brief one", "another that is long"]
    assert found[-1]["usage"]["completion_tokens"] == sum(map(len, model.engine.answers))
    order = [chunk["choices"][0]["index"] for chunk in found[:-1]]
    assert order != sorted(order)


def test_a_stream_that_is_closed_cancels_all_its_answers(tiny_llama: Path) -> None:
    model = served(tiny_llama, "one two three four five six seven")

    async def leave() -> None:
        found = stream(model, parse(body(stream=True, n=2)))
        await anext(found)
        await found.aclose()

    asyncio.run(leave())
    assert len(model.engine.cancelled) == 2


def test_log_probabilities_go_with_their_text(tiny_llama: Path) -> None:
    model = served(tiny_llama, "150 €, please")
    entries = whole(model, logprobs=True, top_logprobs=2)["choices"][0]["logprobs"]["content"]
    assert bytes(byte for entry in entries for byte in entry["bytes"]).decode() == "150 €, please"
    assert len(entries) == len(model.engine.answers[0])
    assert entries[0]["logprob"] == -0.5
    assert [other["token"] for other in entries[0]["top_logprobs"]] == ["<|endoftext|>", "<|im_start|>"]
    euro = [entry["token"] for entry in entries if entry["token"].startswith("bytes:")]
    assert euro == ["bytes:\\xe2", "bytes:\\x82", "bytes:\\xac"]
    found = chunks(model, logprobs=True, top_logprobs=2)
    streamed = [chunk["choices"][0]["logprobs"] for chunk in found]
    assert [entry for part in streamed if part for entry in part["content"]] == entries
    assert streamed[0]["content"] == entries[:1]


def test_tokens_wholly_behind_a_stop_string_have_no_entries(tiny_llama: Path) -> None:
    model = served(tiny_llama, "one two three four")
    entries = whole(model, logprobs=True, stop="three")["choices"][0]["logprobs"]["content"]
    assert "".join(entry["token"] for entry in entries) == "one two th"  # the last token begins with what is said


def test_an_answer_that_is_cut_says_so_and_has_whole_characters_only(tiny_llama: Path) -> None:
    model = served(tiny_llama, "1 €", finish="length")
    found = whole(model, max_tokens=4)["choices"][0]
    assert (found["message"]["content"], found["finish_reason"]) == ("1 ", "length")
    assert model.engine.asks[0].max_new_tokens == 4


def test_an_answer_may_be_as_long_as_the_context_leaves_room(tiny_llama: Path) -> None:
    model = served(tiny_llama)
    whole(model)
    whole(model, max_tokens=10_000)
    room = 512 - len(model.renderer.prompt("Hello?"))
    assert [ask.max_new_tokens for ask in model.engine.asks] == [room, room]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_prompt_that_fills_the_context_is_refused_with_numbers(tiny_llama: Path, streamed: bool) -> None:
    model = served(tiny_llama, context_length=10)
    length = len(model.renderer.prompt("Hello?"))
    with pytest.raises(TooLong, match=rf"{length} tokens.*has 10 for them") as refused:
        chunks(model) if streamed else whole(model)
    assert refused.value.body()["error"]["code"] == "context_length_exceeded"


def test_what_a_model_cannot_do_is_refused(tiny_llama: Path, tiny_bert: Path) -> None:
    plain = served(tiny_llama, template="{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}")
    with pytest.raises(BadRequest, match="does not write tools") as refused:
        whole(plain, tools=[PRICE])
    assert refused.value.param == "tools"
    unread = served(tiny_llama, template=plain.renderer._template.source + "{{ tools }}{{ messages[-1].tool_calls }}")
    with pytest.raises(BadRequest, match="in a form that this service does not read"):
        whole(unread, tools=[PRICE])
    silent = served(tiny_llama, template="{% for m in messages if m.role != 'system' %}{{ m.content }}</s>{% endfor %}")
    with pytest.raises(BadRequest, match="writes no system messages"):
        whole(silent, messages=[{"role": "developer", "content": "Be brief."}])
    with pytest.raises(BadRequest, match="names the token 99999, and `tickets` has"):
        whole(plain, logit_bias={"99999": 1})
    encoder = Served(served(tiny_bert, template=None).renderer, None, kind="encoder")
    with pytest.raises(BadRequest, match="writes no text"):
        whole(encoder)


def test_what_a_template_refuses_is_a_bad_request(tiny_llama: Path) -> None:
    strict = served(tiny_llama, template="{{ raise_exception('roles must alternate') }}")
    with pytest.raises(BadRequest, match=r"`messages`: the chat template .*roles must alternate") as refused:
        whole(strict, messages=[{"role": "user", "content": "a"}])
    assert refused.value.param == "messages"


@pytest.mark.parametrize("streamed", [False, True])
def test_an_engine_that_fails_is_an_error(tiny_llama: Path, streamed: bool) -> None:
    model = served(tiny_llama, "", finish="error", error="out of memory")
    ask = chunks if streamed else whole
    with pytest.raises(Unanswered, match="out of memory"):
        ask(model)
    with pytest.raises(BadRequest, match="out of memory"):
        ask(model, response_format={"type": "json_object"})


def test_an_answer_outlives_its_engine_where_none_of_it_was_told(tiny_llama: Path) -> None:
    model = served(tiny_llama, "one two three", deaths=2)
    found = whole(model, stop="three")
    assert found["choices"][0]["message"]["content"] == "one two "
    assert found["usage"]["completion_tokens"] <= len(model.engine.answers[0])
    for many, ask in ((1, chunks), (3, whole)):
        with pytest.raises(EngineLost):
            ask(served(tiny_llama, "one two three", deaths=many), stop="three")


def test_a_schema_is_handed_to_the_engine(tiny_llama: Path) -> None:
    model = served(tiny_llama, '{"days": 3}')
    schema = {"type": "object", "properties": {"days": {"type": "integer"}}}
    asked = {"type": "json_schema", "json_schema": {"name": "repair", "schema": schema, "strict": True}}
    assert whole(model, response_format=asked)["choices"][0]["message"]["content"] == '{"days": 3}'
    whole(model, response_format={"type": "json_object"})
    whole(model, response_format={"type": "text"})
    assert [ask.schema for ask in model.engine.asks] == [schema, {"type": "object"}, None]


def test_only_answers_without_chance_have_a_key(tiny_llama: Path) -> None:
    model = served(tiny_llama)
    key = cache_key(model, parse(body(temperature=0)))
    assert key == cache_key(model, parse(body(temperature=0, user="me", stream=True, store=True)))
    assert cache_key(model, parse(body())) is None
    assert cache_key(model, parse(body(seed=1))) != cache_key(model, parse(body(seed=2)))
    others = [{"stop": "x"}, {"tools": [PRICE]}, {"max_tokens": 3}, {"messages": [{"role": "user", "content": "?"}]}]
    keys = [cache_key(model, parse(body(temperature=0, **other))) for other in others]
    assert len({key, *keys}) == 5
    tuned = Served(model.renderer, model.engine, adapter=None)
    assert cache_key(tuned, parse(body(temperature=0))) != key
