"""OpenAI chat rows: `messages`, and where the model may call them `tools`."""

from __future__ import annotations

from typing import Any

from luthier.data.example import Example
from luthier.data.sources.formats.cells import listing
from luthier.data.sources.formats.format import Columns, Fields, Format, Role
from luthier.data.sources.formats.messages import read_messages, read_tools, require_answer
from luthier.data.sources.formats.turns import messages_of
from luthier.data.sources.table import Row


def _read(row: Row, columns: Columns) -> Fields:
    column = columns["messages"]
    messages = read_messages(listing(row, column), column)
    require_answer(messages, column)
    fields: Fields = {"messages": messages}
    if "tools" in columns:
        fields["tools"] = read_tools(row.get(columns["tools"]), columns["tools"])
    return fields


def _write(example: Example) -> dict[str, Any]:
    row: dict[str, Any] = {"messages": messages_of(example)}
    return row | {"tools": list(example.tools)} if example.tools else row


def _fits(row: Row, columns: Columns) -> bool:
    items = row.get(columns["messages"])
    return type(items) is list and bool(items) and type(items[0]) is dict and "role" in items[0]


CHAT = Format(
    "chat",
    {
        "messages": Role(("messages", "conversations", "conversation")),
        "tools": Role(("tools", "functions"), required=False),
    },
    _read,
    _write,
    _fits,
)
