"""Ids that a stream of llama.cpp's leaves out: of the tokens that make a character together, it names only the last."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

BROKEN = "�"
"""Stands for bytes that are no character; which ones is not known any more."""
SPACE = "▁"


class Characters:
    """Reads the vocabulary in the metadata of a GGUF file when the first such character comes."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.fields = fields

    def before(self, last: int, text: str, count: int) -> list[int] | None:
        """The `count` ids which, with the id `last` after them, are the bytes of `text`; None where none are.

        Where there are several, the longest tokens come first, as tokenizers have it. The text is the same.
        """
        raw, end = text.encode(), self._bytes(last)
        if BROKEN in text or not raw.endswith(end):
            return None
        return self._split(raw[: len(raw) - len(end)], count)

    def _split(self, raw: bytes, count: int) -> list[int] | None:
        if count == 0:
            return None if raw else []
        for length in range(len(raw) - count + 1, 0, -1):
            for id in self._ids.get(raw[:length], ()):
                rest = self._split(raw[length:], count - 1)
                if rest is not None:
                    return [id, *rest]
        return None

    def _bytes(self, id: int) -> bytes:
        return self._read(self._tokens[id])

    @property
    def _tokens(self) -> Sequence[str]:
        found: Sequence[str] = self.fields["tokenizer.ggml.tokens"]
        return found

    @cached_property
    def _ids(self) -> dict[bytes, list[int]]:
        found = defaultdict(list)
        for id, token in enumerate(self._tokens):
            found[self._read(token)].append(id)
        return dict(found)

    def _read(self, token: str) -> bytes:
        if self.fields.get("tokenizer.ggml.model") == "gpt2":
            return b"".join(_LETTERS.get(letter, letter.encode()) for letter in token)
        if token.startswith("<0x") and token.endswith(">"):
            return bytes.fromhex(token[3:-1])
        return token.replace(SPACE, " ").encode()


def _letters() -> dict[str, bytes]:
    """What each letter of GPT-2's vocabulary stands for: a printable byte for itself, the others follow after 255."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): bytes([byte]) for byte in printable} | {
        chr(256 + number): bytes([byte]) for number, byte in enumerate(others)
    }


_LETTERS = _letters()
