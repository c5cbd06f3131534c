"""From token ids to text, one by one, and the bytes of a single token."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache

from tokenizers import Tokenizer

BROKEN = "\ufffd"
"""What a decoder writes for bytes that are not, or not yet, a character."""


class Detokenizer:
    """Special tokens are left out, but for those in `kept` (id → what is written for it)."""

    def __init__(self, tokenizer: Tokenizer, kept: Mapping[int, str]) -> None:
        self._decode = lambda ids: tokenizer.decode(ids, skip_special_tokens=True)
        added = tokenizer.get_added_tokens_decoder()
        self._special = {id: kept.get(id, "") for id in {id for id, token in added.items() if token.special} | {*kept}}
        self._ids: list[int] = []
        self._context, self._before = 0, ""

    def add(self, id: int) -> str:
        """The text that this token completes; the bytes of a character wait until it is whole.

        The tokens before are decoded again with each, since a decoder may treat the first one in another way.
        """
        if id in self._special:
            return self.end() + self._special[id] if self._special[id] else ""
        self._ids.append(id)
        text = self._decode(self._ids)
        if text.endswith(BROKEN) or len(text) <= len(self._before):
            return ""
        more = text[len(self._before) :]
        self._ids = self._ids[self._context :]
        self._context, self._before = len(self._ids), self._decode(self._ids)
        return more

    def end(self) -> str:
        """The text that waits; a character that is not whole is left out."""
        text = self._decode(self._ids)[len(self._before) :].rstrip(BROKEN)
        self._ids, self._context, self._before = [], 0, ""
        return text


def byte_reader(tokenizer: Tokenizer) -> Callable[[int], bytes]:
    """What each token alone writes, special tokens included: a part of a character where it is that."""
    added = tokenizer.get_added_tokens_decoder()
    letters = tokenizer.decoder is not None and b"ByteLevel" in tokenizer.decoder.__getstate__()

    def read(id: int) -> bytes:
        token = tokenizer.id_to_token(id) or ""
        if id in added:
            return token.encode()
        if letters:
            return bytes(byte_of_letter()[letter] for letter in token if letter in byte_of_letter())
        byte = re.fullmatch(r"<0x([0-9A-F]{2})>", token)
        return bytes.fromhex(byte[1]) if byte else token.replace("▁", " ").encode()

    return read


@cache
def byte_of_letter() -> dict[str, int]:
    """The letter that byte-level tokenizers write for each byte: itself where it can be seen, else one from 256 on."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {chr(256 + at): byte for at, byte in enumerate(hidden)}
