"""One prompt and its completion: as text, or each as a list of messages."""

from __future__ import annotations

from typing import Any

from luthier.data.example import Example
from luthier.data.sources.formats.cells import optional_text, text
from luthier.data.sources.formats.format import Columns, Fields, Format, Role
from luthier.data.sources.formats.messages import read_messages, require_answer
from luthier.data.sources.formats.turns import exchange_of
from luthier.data.sources.table import Row


def read_exchange(row: Row, columns: Columns) -> Fields:
    """Prompt and completion; or messages, where the row gives lists of them or a system line.

    Of a conversation that ends in a completion, only the completion is learnt.
    """
    prompt, completion = columns["prompt"], columns["completion"]
    if type(row.get(prompt)) is list:
        asked = [_unlearnt(message) for message in read_messages(row[prompt], prompt)]
        answered = read_messages(row.get(completion), completion)
        require_answer(answered, completion)
        return {"messages": (*asked, *answered)}
    return with_system(text(row, prompt), text(row, completion), optional_text(row, columns.get("system")))


def with_system(prompt: str, completion: str, system: str) -> Fields:
    """Prompt and completion, as messages where there is a system line to say first."""
    if not system:
        return {"prompt": prompt, "completion": completion}
    said = {"system": system, "user": prompt, "assistant": completion}
    return {"messages": tuple({"role": role, "content": content} for role, content in said.items())}


def _unlearnt(message: Any) -> Any:
    return message | {"weight": 0} if message["role"] == "assistant" else message


def _write(example: Example) -> dict[str, Any]:
    prompt, completion, system = exchange_of(example)
    row = {"prompt": prompt, "completion": completion}
    return row | {"system": system} if system else row


PROMPT_COMPLETION = Format(
    "prompt_completion",
    {
        "prompt": Role(("prompt", "question", "query", "input")),
        "completion": Role(("completion", "answer", "response", "output")),
        "system": Role(("system",), required=False),
    },
    read_exchange,
    _write,
)
