"""From token ids to text, one by one."""

from __future__ import annotations

from collections.abc import Mapping

from tokenizers import Tokenizer

from luthier.serve.token_bytes import BROKEN


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
