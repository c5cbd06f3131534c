"""`fastokens`, where it is installed: the ids of `tokenizers`, some times faster and without offsets.

It reads byte-level BPE and refuses other kinds. Its ids are compared with those of `tokenizers`, on texts that are hard
to split here and on the rows themselves in `Renderer`, and it is left alone where they differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from tokenizers import Tokenizer

HARD = (
    "", " ", "  two  spaces ", "\n\n\n", "tab\ttab\r\nline", "I'll we're he'd 'S", "1234567 3.14 ½ ①",
    "don’t — “quote”",
    "naïve cafe\u0301 ﬁ İi̇", "日本語のテキスト、漢字。", "שלום עולם العربية", "👩‍👩‍👧‍👦🇨🇭 ok", "a\x00b\x7f\u200b\ufeff",
    "def f(x):\n    return x**2  # ok\n", '{"a": [1, null], "b": "\\n"}', "x" * 300, "https://a.b/c?d=e&f=%20",
)  # fmt: skip


def quick_tokenizer(tokenizer: Tokenizer, added: Sequence[str]) -> Any | None:
    """An encoder with `encode_batch(texts, add_special_tokens=…)`, whose encodings have `ids`; None where fastokens is
    not installed, refuses the tokenizer, or differs on a hard text or one with `added` tokens in it."""
    if find_spec("fastokens") is None:
        return None
    import fastokens

    try:
        found = fastokens.Tokenizer.from_json_str(tokenizer.to_str())
    except ValueError:
        return None
    texts = [*HARD, *(f"a {token}\n{token}b" for token in added[:64])]
    return found if agrees(found, tokenizer, texts) else None


def agrees(quick: Any, tokenizer: Tokenizer, texts: Sequence[str]) -> bool:
    """Whether both give the same ids, with the tokenizer's own special tokens and without them."""
    return all(
        list(own.ids) == list(other.ids)
        for special in (False, True)
        for own, other in zip(
            quick.encode_batch(list(texts), add_special_tokens=special),
            tokenizer.encode_batch(list(texts), add_special_tokens=special),
            strict=True,
        )
    )
