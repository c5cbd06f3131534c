"""Ids that are parts of a character, found again from its bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models

from luthier.serve.engines.characters import Characters

BYTE_LEVEL = ["a", "ð", "ŁĲ", "Ł", "Ĳ", "ķ", "Ġð", "ðŁ", "é"]
PIECES = ["▁a", "<0xF0>", "<0x9F>", "<0x90>", "<0x95>"]


def characters(folder: Path, tokens: list[str], decoder: Any = None) -> Characters:
    tokenizer = Tokenizer(models.WordLevel({token: id for id, token in enumerate(tokens)}, unk_token=tokens[0]))
    if decoder:
        tokenizer.decoder = decoder
    tokenizer.save(str(folder / "tokenizer.json"))
    return Characters(folder)


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
def test_the_bytes_before_the_last_token_are_split(
    tmp_path: Path, text: str, last: int, count: int, found: list[int] | None
) -> None:
    assert characters(tmp_path, BYTE_LEVEL, decoders.ByteLevel()).before(last, text, count) == found


def test_bytes_by_name(tmp_path: Path) -> None:
    found = characters(tmp_path, PIECES)
    assert found.before(4, "🐕", 3) == [1, 2, 3]
    assert found.before(4, " a🐕", 4) == [0, 1, 2, 3]
