"""Ids that are parts of a character, found again from its bytes."""

from __future__ import annotations

import pytest

from luthier.serve.engines.characters import Characters

BYTE_LEVEL = {"tokenizer.ggml.model": "gpt2",
              "tokenizer.ggml.tokens": ["a", "ð", "ŁĲ", "Ł", "Ĳ", "ķ", "Ġð", "ðŁ", "é"]}  # fmt: skip
PIECES = {"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": ["▁a", "<0xF0>", "<0x9F>", "<0x90>", "<0x95>"]}


@pytest.mark.parametrize(
    ("text", "last", "count", "found"),
    [
        ("🐕", 5, 2, [7, 4]),  # the longest first: not [1, 2]
        ("🐕", 5, 3, [1, 3, 4]),
        (" 🐕", 5, 2, [6, 2]),
        ("a🐕", 5, 3, [0, 7, 4]),
        ("🐕", 5, 1, None),  # no token has all three bytes before the last
        ("🐕", 5, 4, None),
        ("🐕", 0, 2, None),  # ends with another token
        ("�", 5, 1, None),  # which bytes is not known
    ],
)
def test_the_bytes_before_the_last_token_are_split(text: str, last: int, count: int, found: list[int] | None) -> None:
    assert Characters(BYTE_LEVEL).before(last, text, count) == found


def test_bytes_by_name() -> None:
    assert Characters(PIECES).before(4, "🐕", 3) == [1, 2, 3]
    assert Characters(PIECES).before(4, " a🐕", 4) == [0, 1, 2, 3]
