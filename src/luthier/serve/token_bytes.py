"""The bytes of a single token."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from tokenizers import Tokenizer

BROKEN = "\ufffd"
"""What a decoder writes for bytes that are not, or not yet, a character."""


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
