"""An engine that plays a script, and a tiny model with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.data.render import Renderer
from luthier.errors import EngineLost
from luthier.serve.engines.engine import Ask, Piece, Token

HELLO = {"role": "user", "content": "Hello?"}
CHATML = (
    "{% for tool in tools or [] %}{{ tool | tojson }}\n{% endfor %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content or '' }}"
    "{% for call in message.tool_calls or [] %}CALL{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HERMES = CHATML.replace(
    "CALL",
    '<tool_call>\n{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n'
    "</tool_call>",
)
LLAMA = CHATML.replace(
    "CALL", '{"name": "{{ call.function.name }}", "parameters": {{ call.function.arguments | tojson }}}'
)
MISTRAL = CHATML.replace(
    "{% for call in message.tool_calls or [] %}CALL{% endfor %}",
    "{% if message.tool_calls %}[TOOL_CALLS] [{% for call in message.tool_calls %}"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}, "id": "{{ call.id }}"}'
    "{{ ', ' if not loop.last }}{% endfor %}]{% endif %}",
)
PRICE = {
    "type": "function",
    "function": {"name": "price", "parameters": {"type": "object", "properties": {"part": {"type": "string"}}}},
}


@dataclass
class Answer:
    tokens: tuple[Token, ...]
    finish: str
    error: str = ""


@dataclass
class Script:
    """Plays one list of token ids an answer, the same for each unless there are several, a token a piece.

    `asks` is what was asked for; `handed_out` how many tokens have left, and `cancelled` the ids of answers that
    were closed before their end. The first `deaths` streams break off after a token.
    """

    answers: Sequence[Sequence[int]]
    finish: str = "stop"
    error: str = ""
    deaths: int = 0
    asks: list[Ask] = field(default_factory=list)
    handed_out: int = 0
    cancelled: list[str] = field(default_factory=list)

    def _tokens(self, ask: Ask) -> list[Token]:
        self.asks.append(ask)
        ids = self.answers[(len(self.asks) - 1) % len(self.answers)][: ask.max_new_tokens]
        if ask.top_logprobs is None:
            return [Token(id) for id in ids]
        return [Token(id, -0.5, tuple((other, -1.0) for other in range(ask.top_logprobs))) for id in ids]

    async def complete(self, ask: Ask) -> Answer:
        tokens = self._tokens(ask)
        self.handed_out += len(tokens)
        return Answer(tuple(tokens), self.finish, self.error)

    async def stream(self, ask: Ask) -> AsyncIterator[Piece]:
        tokens, ended = self._tokens(ask), False
        try:
            for token in tokens:
                await asyncio.sleep(0)
                self.handed_out += 1
                yield Piece((token,))
                if self.deaths:
                    self.deaths -= 1
                    raise EngineLost("the process died")
            yield Piece((), self.finish, self.error)
            ended = True
        finally:
            if not ended:
                self.cancelled.append(ask.id)


@dataclass(frozen=True)
class Served:
    """What answers need of a model in service."""

    renderer: Renderer
    engine: Any
    name: str = "tickets"
    ref: str = "tickets@3"
    base_model: str = "tiny"
    adapter: str | None = "abc"
    run_id: str | None = None
    kind: str = "decoder"
    context_length: int = 512
    engine_name: str = "script"
    created: int = 0


def served(folder: Path, *texts: str, template: str = HERMES, context_length: int = 512, **script: Any) -> Served:
    """A model that answers with these texts, one after the other."""
    renderer = Renderer.from_folder(folder, template)
    answers = [renderer.encode(text) for text in texts or ("Hello.",)]
    return Served(renderer, Script(answers, **script), context_length=context_length)


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "tickets", "messages": [HELLO], **fields}
