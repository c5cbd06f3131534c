"""Chat as an unmodified `openai` client does it, sync and async, against a server on a loopback port."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from gateway import Service
from pydantic import BaseModel

from luthier.data.render import Renderer
from luthier.store import keys

HELLO: Any = [{"role": "user", "content": "What does a bridge cost?"}]
TEMPLATE = (
    "{% for tool in tools or [] %}{{ tool | tojson }}\n{% endfor %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content or '' }}"
    "{% for call in message.tool_calls or [] %}<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n</tool_call>'
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Repair(BaseModel):
    part: str
    days: int


class Price(BaseModel):
    """The price of a part."""

    part: str


@pytest.fixture(scope="session")
def calling(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose template writes tools."""
    folder = tmp_path_factory.mktemp("models") / "tiny-tools"
    shutil.copytree(tiny_llama, folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture
def service(home: Any, calling: Path) -> Service:
    return Service(home, {"tiny": calling}, {})


@pytest.fixture
def url(service: Service, start: Any) -> str:
    return f"{start(service.state()).url}/v1"


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def says(service: Service, calling: Path) -> Any:
    """`says(text)`: what the model answers from now on."""
    renderer = Renderer.from_folder(calling)

    def say(text: str) -> str:
        service.engine = {"ids": renderer.encode(text)}
        return text

    return say


def create(client: Any, **fields: Any) -> Any:
    return client.chat.completions.create(**{"model": "tiny", "messages": HELLO} | fields)


def test_an_answer(client: openai.OpenAI, says: Any) -> None:
    text = says("About 150 €, 🎻.")
    reply = create(client, n=2, seed=3, metadata={"who": "me"}, store=True, user="me")
    assert [choice.message.content for choice in reply.choices] == [text] * 2
    assert {choice.finish_reason for choice in reply.choices} == {"stop"}
    assert reply.model == "tiny"
    assert reply.system_fingerprint.startswith("fp_")
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert create(client, stop=["€", "x"]).choices[0].message.content == "About 150 "


def test_a_stream(client: openai.OpenAI, says: Any) -> None:
    text = says("About 150 €, 🎻.")
    chunks = list(create(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage.completion_tokens > 0
    with client.chat.completions.stream(model="tiny", messages=HELLO, logprobs=True, top_logprobs=1) as stream:
        events = [event.type for event in stream]
        final = stream.get_final_completion()
    assert final.choices[0].message.content == text
    assert {"content.delta", "content.done", "logprobs.content.delta", "chunk"} <= {*events}
    entries = final.choices[0].logprobs.content
    assert bytes(byte for entry in entries for byte in entry.bytes).decode() == text
    assert len(entries[0].top_logprobs) == 1


def test_an_answer_that_is_parsed(client: openai.OpenAI, says: Any, service: Service) -> None:
    says('{"part": "bridge", "days": 3}')
    reply = client.chat.completions.parse(model="tiny", messages=HELLO, response_format=Repair)
    assert reply.choices[0].message.parsed == Repair(part="bridge", days=3)
    with client.chat.completions.stream(model="tiny", messages=HELLO, response_format=Repair) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == Repair(part="bridge", days=3)
    assert [ask.schema["required"] for ask in service.remotes[0].asks] == [["part", "days"]] * 2


def test_a_call_and_its_result(client: openai.OpenAI, says: Any, service: Service) -> None:
    says('Let me see.\n<tool_call>\n{"name": "Price", "arguments": {"part": "bridge"}}\n</tool_call>')
    tools = [openai.pydantic_function_tool(Price)]
    reply = client.chat.completions.parse(model="tiny", messages=HELLO, tools=tools)
    choice = reply.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me see."
    (call,) = choice.message.tool_calls
    assert call.function.parsed_arguments == Price(part="bridge")
    with client.chat.completions.stream(model="tiny", messages=HELLO, tools=tools) as stream:
        kinds = {event.type for event in stream}
        (streamed,) = stream.get_final_completion().choices[0].message.tool_calls
    assert streamed.function.parsed_arguments == Price(part="bridge")
    assert "tool_calls.function.arguments.done" in kinds
    turn = choice.message.model_dump(exclude={"parsed"})
    turn["tool_calls"] = [call.model_dump(exclude={"function": {"parsed_arguments"}})]
    result = {"role": "tool", "tool_call_id": call.id, "content": "150"}
    create(client, messages=[*HELLO, turn, result], tools=tools)
    asked = service.remotes[0].asks[-1]
    text = service.find(_route("tiny")).renderer.tokens.tokenizer.decode(asked.prompt, skip_special_tokens=False)
    assert '<tool_call>\n{"name": "Price", "arguments": {"part": "bridge"}}\n</tool_call><|im_end|>' in text
    assert "<|im_start|>tool\n150<|im_end|>" in text


def test_a_call_that_is_demanded(client: openai.OpenAI, says: Any, service: Service) -> None:
    says('{"name": "Price", "arguments": {"part": "bridge"}}')
    tools = [openai.pydantic_function_tool(Price)]
    named = {"type": "function", "function": {"name": "Price"}}
    for choice in ("required", named):
        (call,) = create(client, tools=tools, tool_choice=choice).choices[0].message.tool_calls
        assert json.loads(call.function.arguments) == {"part": "bridge"}


def test_the_bare_reply(client: openai.OpenAI, says: Any) -> None:
    text = says("Hello.")
    raw = client.chat.completions.with_raw_response.create(model="tiny", messages=HELLO)
    assert raw.status_code == 200
    assert raw.headers["content-type"].startswith("application/json")
    assert raw.headers["x-request-id"]
    assert raw.parse().choices[0].message.content == text
    with client.chat.completions.with_streaming_response.create(model="tiny", messages=HELLO, stream=True) as reply:
        assert [*reply.iter_lines()][-2] == "data: [DONE]"


def test_errors_are_the_clients_own(client: openai.OpenAI, says: Any, home: Any, url: str) -> None:
    says("Hello.")
    wrong: list[tuple[dict[str, Any], Any, str | None, str | None]] = [
        ({"temperature": 3}, openai.BadRequestError, "temperature", None),
        ({"extra_body": {"top_k": 3}}, openai.BadRequestError, "top_k", "unknown_parameter"),
        ({"messages": [{"role": "user", "content": "a " * 999}]}, openai.BadRequestError, "messages",
         "context_length_exceeded"),
        ({"model": "nobody"}, openai.NotFoundError, "model", "model_not_found"),
    ]  # fmt: skip
    for fields, kind, param, code in wrong:
        for streamed in (False, True):
            with pytest.raises(kind) as refused:
                create(client, stream=streamed, **fields)
            assert (refused.value.param, refused.value.code) == (param, code)
            assert refused.value.request_id
    keys.create(home, "me")
    with pytest.raises(openai.AuthenticationError):
        create(client)


def test_an_answer_that_breaks_off_is_an_error(client: openai.OpenAI, says: Any, service: Service) -> None:
    says("About 150 euros.")
    service.engine = {**service.engine, "error": RuntimeError("a bug")}
    chunks = create(client, stream=True)
    assert next(chunks).choices
    with pytest.raises(openai.APIError):
        list(chunks)


def test_the_async_client(url: str, says: Any) -> None:
    text = says("About 150 €.")

    async def talk() -> tuple[list[Any], str, Any]:
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            replies = await asyncio.gather(*(create(client) for _ in range(4)))
            chunks = [chunk async for chunk in await create(client, stream=True)]
            async with client.chat.completions.stream(model="tiny", messages=HELLO) as stream:
                final = await stream.get_final_completion()
            with pytest.raises(openai.BadRequestError):
                await create(client, n=99)
            return replies, "".join(chunk.choices[0].delta.content or "" for chunk in chunks), final

    replies, streamed, final = asyncio.run(talk())
    assert {reply.choices[0].message.content for reply in replies} == {text}
    assert streamed == final.choices[0].message.content == text


def test_a_stream_that_is_left_ends_the_answer(client: openai.OpenAI, says: Any, service: Service) -> None:
    says("one two three four five six seven eight nine ten")
    service.engine = {**service.engine, "seconds": 0.05}
    with create(client, stream=True) as chunks:
        next(iter(chunks))
    remote = service.remotes[0]
    for _ in range(100):
        if remote.given_up:
            break
        asyncio.run(asyncio.sleep(0.02))
    assert len(remote.given_up) == 1


def _route(name: str) -> Any:
    from luthier.serve.routing import Route

    return Route(name, None)
