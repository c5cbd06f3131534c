"""Stop strings, wherever the borders of tokens lie."""

from __future__ import annotations

from collections.abc import Sequence


def held_back(text: str, marks: Sequence[str]) -> int:
    """Characters at the end of `text` that one of `marks` may begin with; the longest such end."""
    longest = max((len(mark) for mark in marks), default=1) - 1
    for length in range(min(longest, len(text)), 0, -1):
        end = text[-length:]
        if any(mark.startswith(end) for mark in marks):
            return length
    return 0


class StopFinder:
    """Lets text through up to the first stop string that is complete; nothing of that, and nothing after it."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.found = False

    def add(self, text: str) -> str:
        """What of the text so far can be let through; what may begin a stop string waits."""
        if self.found:
            return ""
        text = self._held + text
        matches = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        self.found = bool(matches)
        end = min(matches)[1] if matches else len(text) - held_back(text, self._stops)
        self._held = text[end:]
        return text[:end]

    def end(self) -> str:
        """What waited, when no more text comes."""
        text, self._held = "" if self.found else self._held, ""
        return text
