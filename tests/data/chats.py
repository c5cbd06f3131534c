"""Conversations, pieces of chat templates, and what of a conversation is learnt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers import AddedToken

from luthier.data.example import Example, Message
from luthier.data.render import Rendered, Renderer
from luthier.data.tokens import Tokens

QUESTION, ANSWER = {"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Yes."}
AGAIN, LAST = {"role": "user", "content": "More?"}, {"role": "assistant", "content": "No."}
TURN = "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
TOOL = {"type": "function", "function": {"name": "price", "parameters": {"type": "object", "properties": {}}}}
CALL = {
    "id": "call00001",
    "type": "function",
    "function": {"name": "price", "arguments": '{"part": "bridge"}'},
}
CALLING = (
    {"role": "user", "content": "Price?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
)


def each(body: str) -> str:
    return "{% for message in messages %}" + body + "{% endfor %}"


TOOLS = (
    "{% for tool in tools or [] %}{{ tool | tojson }}\n{% endfor %}"
    + each(
        "<|im_start|>{{ message.role }}\n{{ message.content or '' }}"
        "{% for call in message.tool_calls or [] %}"
        "<call>{{ call.function.name }} {{ call.function.arguments | tojson }}</call>{% endfor %}<|im_end|>\n"
    )
    + PROMPT
)


def tokens_of(folder: Path) -> Tokens:
    """The tokenizer of a folder, with the special tokens that the templates here end answers with."""
    tokens = Tokens.from_folder(folder)
    more = ("</s>", "<|end|>", "<|return|>", "<|eot|>")
    tokens.tokenizer.add_tokens([AddedToken(text, special=True) for text in more])
    return tokens


def runs(renderer: Renderer, rendered: Rendered, row: int = 0) -> list[str]:
    """The text of each run of tokens that count."""
    ids, weights = rendered.row(row)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], weights > 0, [0]])))
    decode = renderer.tokens.tokenizer.decode
    return [decode(ids[start:end].tolist(), skip_special_tokens=False) for start, end in edges.reshape(-1, 2)]


def learnt(renderer: Renderer, *messages: Message, tools: tuple[Message, ...] | None = None) -> list[str]:
    """What is learnt of one conversation, the row `chats.jsonl:1`."""
    example = Example(row_id="chats.jsonl:1", messages=messages, tools=tools)
    return runs(renderer, renderer.rows([example], sequence_len=None))
