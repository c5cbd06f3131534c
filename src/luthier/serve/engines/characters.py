"""Ids that a stream of llama.cpp's leaves out: of the tokens that make a character together, it names only the last."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from luthier.serve.token_bytes import BROKEN, byte_reader


class Characters:
    """Reads the tokenizer of a model folder when the first such character comes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def before(self, last: int, text: str, count: int) -> list[int] | None:
        """The `count` ids which, with the id `last` after them, are the bytes of `text`; None where none are.

        Where there are several, the longest tokens come first, as tokenizers have it. The text is the same.
        """
        raw, end = text.encode(), self._bytes[last]
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

    @cached_property
    def _bytes(self) -> list[bytes]:
        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        return [*map(byte_reader(tokenizer), range(tokenizer.get_vocab_size()))]

    @cached_property
    def _ids(self) -> dict[bytes, list[int]]:
        found = defaultdict(list)
        for id, raw in enumerate(self._bytes):
            found[raw].append(id)
        return found
