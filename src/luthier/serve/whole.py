"""The pieces of a streamed completion put together again, for those who want it whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Whole:
    """Chunks in, the completion that they spell out."""

    def __init__(self) -> None:
        self.usage: Mapping[str, Any] | None = None
        self.created = 0
        self._choices: dict[int, dict[str, Any]] = {}

    @property
    def begun(self) -> bool:
        """Whether anything of an answer has come, beyond who speaks."""
        return any(choice["parts"] or choice["calls"] or choice["finish_reason"] for choice in self._choices.values())

    def add(self, chunk: Mapping[str, Any]) -> None:
        """Take the next chunk."""
        self.created = chunk["created"]
        self.usage = chunk.get("usage") or self.usage
        for part in chunk["choices"]:
            choice = self._choices.setdefault(
                part["index"], {"parts": [], "calls": {}, "logprobs": [], "finish_reason": None}
            )
            delta = part["delta"]
            if delta.get("content"):
                choice["parts"].append(delta["content"])
            for call in delta.get("tool_calls") or ():
                _add_call(choice["calls"], call)
            choice["logprobs"] += (part.get("logprobs") or {}).get("content") or ()
            choice["finish_reason"] = part.get("finish_reason") or choice["finish_reason"]

    def completion(self, id: str, model: str) -> dict[str, Any]:
        """What has come so far; a choice that was broken off has no `finish_reason`."""
        choices = [
            {"index": index, "message": _message(choice), "finish_reason": choice["finish_reason"],
             "logprobs": {"content": choice["logprobs"], "refusal": None} if choice["logprobs"] else None}
            for index, choice in sorted(self._choices.items())
        ]  # fmt: skip
        return {"id": id, "object": "chat.completion", "created": self.created, "model": model, "choices": choices,
                "usage": self.usage}  # fmt: skip


def _add_call(calls: dict[int, dict[str, Any]], part: Mapping[str, Any]) -> None:
    function = part.get("function") or {}
    call = calls.setdefault(part["index"], {"id": None, "name": "", "arguments": []})
    call["id"] = part.get("id") or call["id"]
    call["name"] += function.get("name") or ""
    call["arguments"].append(function.get("arguments") or "")


def _message(choice: Mapping[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "".join(choice["parts"]) or None, "refusal": None}
    calls = [
        {"id": call["id"], "type": "function",
         "function": {"name": call["name"], "arguments": "".join(call["arguments"])}}
        for _, call in sorted(choice["calls"].items())
    ]  # fmt: skip
    if calls:
        message["tool_calls"] = calls
    elif message["content"] is None:
        message["content"] = ""
    return message
