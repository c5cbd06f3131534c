"""From the body of `POST /chat/completions` to a checked request.

A parameter is obeyed, or ignored because an answer does not depend on it, or refused: docs/chat.md has the table.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from luthier.serve.chat.fields import boolean, inside, integer, mapping, number, required, text, wrong
from luthier.serve.chat.messages import read_messages
from luthier.serve.chat.request import ChatRequest
from luthier.serve.chat.tools import read_schema, read_tools
from luthier.serve.refusals import BadRequest

OBEYED = (
    "model", "messages", "tools", "tool_choice", "parallel_tool_calls", "temperature", "top_p", "seed", "n",
    "max_tokens", "max_completion_tokens", "stop", "logprobs", "top_logprobs", "logit_bias", "presence_penalty",
    "frequency_penalty", "response_format", "stream", "stream_options", "store", "metadata", "user",
)  # fmt: skip
IGNORED = (
    "service_tier", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier",
    "prediction",
)  # fmt: skip
"""What answers do not depend on here: accounting, caching, speed."""
REFUSED = {
    "audio": "the models of this service write text only",
    "modalities": "the models of this service write text only",
    "web_search_options": "this service does not search the web; give the model a tool",
    "functions": "give `tools` instead",
    "function_call": "give `tool_choice` instead",
    "reasoning_effort": "how long a model thinks cannot be set here",
    "verbosity": "say in a system message how long answers should be",
    "moderation": "this service does not moderate",
}
HARMLESS: dict[str, Any] = {"modalities": ["text"], "reasoning_effort": "none", "verbosity": "medium"}
"""Values of refused parameters that ask for nothing else than what is done anyway."""
MOST_ANSWERS, MOST_STOPS, LONGEST_STOP, MOST_BIASED, MOST_PAIRS = 8, 4, 500, 1024, 16
MOST_TOKENS = 10**7
SEEDS = (-(2**63), 2**63 - 1)


def parse(body: Any) -> ChatRequest:
    """Raises BadRequest, with the parameter that is wrong or cannot be obeyed."""
    if type(body) is not dict:
        raise BadRequest(f"the body must be a JSON object, and is a {type(body).__name__}")
    _refuse_others(body)
    tools, forced = read_tools(body)
    schema = read_schema(body)
    if schema is not None and tools:
        mend = 'leave out the tools, or set `tool_choice` to "none"'
        raise BadRequest(f"`response_format` cannot be obeyed together with `tools`: {mend}", "response_format")
    parallel, streamed = boolean(body, "parallel_tool_calls"), boolean(body, "stream") or False
    return ChatRequest(
        model=required(text(body, "model", 512), "model", "the name of a model"),
        messages=read_messages(body),
        tools=tools,
        forced=forced,
        parallel_calls=parallel is None or parallel,
        temperature=_or(number(body, "temperature", 0, 2), 1.0),
        top_p=_or(number(body, "top_p", 0, 1), 1.0),
        seed=integer(body, "seed", *SEEDS),
        n=_or(integer(body, "n", 1, MOST_ANSWERS), 1),
        max_tokens=_max_tokens(body),
        stop=_stop(body.get("stop")),
        top_logprobs=_top_logprobs(body),
        bias=_bias(mapping(body, "logit_bias") or {}),
        presence=_or(number(body, "presence_penalty", -2, 2), 0.0),
        frequency=_or(number(body, "frequency_penalty", -2, 2), 0.0),
        schema=schema,
        stream=streamed,
        include_usage=_include_usage(mapping(body, "stream_options"), streamed),
        store=boolean(body, "store"),
        metadata=_metadata(mapping(body, "metadata") or {}),
        user=text(body, "user", 512),
    )


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _refuse_others(body: Mapping[str, Any]) -> None:
    for name, value in body.items():
        if value is None or name in OBEYED or name in IGNORED:
            continue
        if name not in REFUSED:
            near = difflib.get_close_matches(name, OBEYED, n=1)
            mend = f"did you mean `{near[0]}`?" if near else "leave it out"
            raise BadRequest(f"`{name}` is not a parameter of this service: {mend}", name, "unknown_parameter")
        if value != HARMLESS.get(name):
            raise BadRequest(f"`{name}` is not supported: {REFUSED[name]}", name, "unsupported_parameter")


def _max_tokens(body: Mapping[str, Any]) -> int | None:
    old = integer(body, "max_tokens", 1, MOST_TOKENS)
    new = integer(body, "max_completion_tokens", 1, MOST_TOKENS)
    if None not in (old, new) and old != new:
        raise BadRequest(f"`max_tokens` is {old} and `max_completion_tokens` is {new}: give one of them", "max_tokens")
    return old if new is None else new


def _stop(given: Any) -> tuple[str, ...]:
    stops = [] if given is None else [given] if type(given) is str else given
    if type(stops) is not list or len(stops) > MOST_STOPS:
        raise wrong("stop", given, f"text or a list of at most {MOST_STOPS} texts")
    for stop in stops:
        if type(stop) is not str or not 0 < len(stop) <= LONGEST_STOP:
            raise wrong("stop", stop, f"text of 1 to {LONGEST_STOP} characters, or a list of such")
    return tuple(dict.fromkeys(stops))


def _top_logprobs(body: Mapping[str, Any]) -> int | None:
    wanted, top = boolean(body, "logprobs"), integer(body, "top_logprobs", 0, 20)
    if top is not None and not wanted:
        raise BadRequest("`top_logprobs` needs `logprobs: true`: set it, or leave this out", "top_logprobs")
    return _or(top, 0) if wanted else None


def _bias(given: Mapping[str, Any]) -> dict[int, float]:
    if len(given) > MOST_BIASED:
        raise BadRequest(f"`logit_bias` has {len(given)} entries, and at most {MOST_BIASED} are taken", "logit_bias")
    for key in given:
        if not (key.isascii() and key.isdigit() and len(key) < 10):
            raise wrong("logit_bias", key, "an object whose keys are token ids")
    with inside("logit_bias"):
        return {int(key): _or(number(given, key, -100, 100), 0.0) for key in given}


def _include_usage(options: Mapping[str, Any] | None, streamed: bool) -> bool:
    if options is None:
        return False
    if not streamed:
        raise BadRequest("`stream_options` needs `stream: true`: set it, or leave this out", "stream_options")
    with inside("stream_options"):
        for key in options.keys() - {"include_usage", "include_obfuscation"}:
            raise BadRequest(f"`{key}` is not a parameter of this service: leave it out", key, "unknown_parameter")
        return boolean(options, "include_usage") or False


def _metadata(given: Mapping[str, Any]) -> Mapping[str, str]:
    if len(given) > MOST_PAIRS:
        raise BadRequest(f"`metadata` has {len(given)} pairs, and at most {MOST_PAIRS} are taken", "metadata")
    with inside("metadata"):
        for key in given:
            if len(key) > 64:
                raise wrong(key[:64], key, "a key of at most 64 characters")
            required(text(given, key, 512), key, "text")
    return given
