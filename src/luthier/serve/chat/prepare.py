"""What an engine is asked for a request: the prompt, as training rows have it, and one `Ask` an answer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luthier.errors import DataError
from luthier.serve.chat.calls import CallForm, call_form, forced_schema
from luthier.serve.chat.request import ChatRequest
from luthier.serve.engines.engine import Ask
from luthier.serve.refusals import BadRequest, TooLong

if TYPE_CHECKING:
    from luthier.serve.model import Model

LONGEST_ANSWER = 4096
"""Tokens of an answer whose request does not say how long it may be, where the context has room for more."""
LEAST_TOP_P = 1e-6
"""Stands for 0: the likeliest token only."""


@dataclass(frozen=True)
class Prepared:
    """`form` is how the model writes calls, where it may call."""

    prompt: list[int]
    form: CallForm | None
    asks: tuple[Ask, ...]


def prepare(model: Model, request: ChatRequest, id: str) -> Prepared:
    """Raises BadRequest where this model cannot do what is asked, TooLong where the prompt fills its context."""
    if model.kind != "decoder" or not model.renderer.chats:
        raise BadRequest(
            f"`{request.model}` writes no text: ask a model that does, or this one for embeddings", "model"
        )
    form = _form(model, request) if request.tools else None
    prompt = prompt_of(model, request)
    if request.forced and form:
        prompt += model.renderer.encode(form.before)
    _check_bias(model, request)
    room = model.context_length - len(prompt)
    if room < 1:
        raise TooLong(
            f"the messages are {len(prompt)} tokens, and the context of `{request.model}` has {model.context_length} "
            "for them and the answer: shorten them, or leave out earlier turns"
        )
    common: dict[str, Any] = {
        "prompt": prompt,
        "max_new_tokens": min(request.max_tokens or LONGEST_ANSWER, room),
        "adapter": model.adapter,
        "temperature": request.temperature,
        "top_p": max(request.top_p, LEAST_TOP_P),
        "stop_ids": model.renderer.eos_ids,
        "top_logprobs": request.top_logprobs,
        "bias": request.bias,
        "presence": request.presence,
        "frequency": request.frequency,
        "schema": _schema(request, form),
    }
    asks = (Ask(id=f"{id}-{i}", seed=seed_of(request.seed, i), **common) for i in range(request.n))
    return Prepared(prompt, form, tuple(asks))


def prompt_of(model: Model, request: ChatRequest) -> list[int]:
    """The token ids that a training row with these messages and tools has before its answer."""
    if not model.renderer.supports_system and any(turn["role"] in ("system", "developer") for turn in request.messages):
        mend = "put its text into the first user message"
        raise BadRequest(f"the chat template of `{request.model}` writes no system messages: {mend}", "messages")
    try:
        return model.renderer.prompt(request.messages, request.tools or None)
    except DataError as error:
        joined = " " if error.what.startswith(("has ", "calls ")) else ": "
        raise BadRequest(f"`messages`{joined}{error.what}", "messages") from error


def seed_of(seed: int | None, index: int) -> int | None:
    """The seed of answer `index`, from 0 to 2³¹ − 1."""
    if seed is None:
        return None
    return int.from_bytes(hashlib.sha256(f"{seed} {index}".encode()).digest()[:4], "big") >> 1


def _form(model: Model, request: ChatRequest) -> CallForm | None:
    if not model.renderer.supports_tools:
        mend = "leave them out, or use a model whose template does"
        raise BadRequest(f"`tools`: the chat template of `{request.model}` does not write tools: {mend}", "tools")
    form = call_form(model.renderer)
    if form is None:
        what = f"`tools`: the chat template of `{request.model}` writes calls in a form that this service does not read"
        raise BadRequest(f"{what}: leave them out, or use another model", "tools")
    return form


def _schema(request: ChatRequest, form: CallForm | None) -> Any:
    if not request.forced or not form:
        return request.schema
    tools = {
        tool["function"]["name"]: tool["function"].get("parameters") or {"type": "object"} for tool in request.tools
    }
    return forced_schema(form, {name: tools[name] for name in request.forced})


def _check_bias(model: Model, request: ChatRequest) -> None:
    size = model.renderer.vocab_size
    for id in request.bias:
        if id >= size:
            raise BadRequest(f"`logit_bias` names the token {id}, and `{request.model}` has {size}", "logit_bias")
