"""What a client asks for: a chat completion's parameters, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from luthier.data.example import Message

Tool = Mapping[str, Any]


@dataclass(frozen=True)
class ChatRequest:
    """A request for `n` answers to a conversation, as `parse` reads it."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    """What the model is told of; none where `tool_choice` is `none`."""
    forced: tuple[str, ...] = ()
    """Functions of which the answer must call one."""
    parallel_calls: bool = True
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    n: int = 1
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    """Alternatives of each token beside its log-probability; None for no log-probabilities."""
    bias: Mapping[int, float] = field(default_factory=dict)
    presence: float = 0.0
    frequency: float = 0.0
    schema: Mapping[str, Any] | None = None
    """What the text must satisfy, as JSON schema."""
    stream: bool = False
    include_usage: bool = False
    store: bool | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
