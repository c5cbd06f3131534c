"""fastokens: used where it agrees with tokenizers, and left alone where it does not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from luthier.data import quick
from luthier.data.example import Example
from luthier.data.render import Renderer
from luthier.jobs.rows import Rendering, render_split

ROWS = [
    Example(f"a:{i}", prompt=f"What does bridge {i} cost,\n\n  café?", completion=f"About {i * i} euros…  <|im_end|> ")
    for i in range(40)
] + [
    Example("a:chat", messages=tuple(
        {"role": role, "content": f"{role} says 日本 {i}"} for i, role in enumerate(("user", "assistant") * 3)
    ))
]  # fmt: skip


class Slow:
    """tokenizers under another name, which counts and may be wrong about one text."""

    def __init__(self, tokenizer: Any, wrong: str = "\0none") -> None:
        self.tokenizer, self.wrong, self.texts = tokenizer, wrong, 0

    def encode_batch(self, texts: list[str], add_special_tokens: bool) -> list[Any]:
        self.texts += len(texts)
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(texts, add_special_tokens=add_special_tokens)]
        return [
            SimpleNamespace(ids=[*own, 7] if self.wrong in text else own) for own, text in zip(ids, texts, strict=True)
        ]


def same(left: Any, right: Any) -> bool:
    return np.array_equal(left.ids, right.ids) and np.array_equal(left.weights, right.weights)


@pytest.mark.parametrize("settings", [{}, {"train_on": "last"}, {"train_on": "all"}])
def test_rows_are_the_same_without_offsets(settings: dict[str, Any], tiny_llama: Path) -> None:
    plain, fast = Renderer.from_folder(tiny_llama), Renderer.from_folder(tiny_llama)
    plain._quick, fast._quick = None, Slow(fast.tokens.tokenizer)
    assert same(*(each.rows(ROWS, sequence_len=None, **settings) for each in (plain, fast)))
    assert fast._quick.texts > 2 * len(ROWS)
    assert not fast.quick_differs


def test_what_differs_on_the_rows_is_left_alone_and_said(tiny_llama: Path, tmp_path: Path) -> None:
    plain, fast, notes = Renderer.from_folder(tiny_llama), Renderer.from_folder(tiny_llama), []
    fast._quick = Slow(fast.tokens.tokenizer, wrong="bridge 5 ")
    how = Rendering(None, "error", "assistant", "sft")
    found = render_split(fast, ROWS, tmp_path, how, notes.append)
    assert same(found, plain.rows(ROWS, sequence_len=None))
    assert any("fastokens gives some rows other ids" in note for note in notes)


def test_answers_that_do_not_begin_with_a_piece_need_offsets(tiny_llama: Path) -> None:
    template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}: {% generation %}{{ message.content }}"
        "{% endgeneration %}<|im_end|>{% endfor %}"
    )
    plain, fast = (Renderer.from_folder(tiny_llama, template) for _ in range(2))
    plain._quick, fast._quick = None, Slow(fast.tokens.tokenizer)
    assert same(*(each.rows(ROWS, sequence_len=None) for each in (plain, fast)))


def test_a_text_is_cut_only_behind_tokens_that_nothing_changes(tiny_llama: Path) -> None:
    tokens = Renderer.from_folder(tiny_llama).tokens
    assert "<|im_end|>" in tokens.closing
    whole = tokens.encode(["yes<|im_end|>\n b"])[0].ids
    assert whole == [i for part in tokens.encode(["yes<|im_end|>", "\n b"]) for i in part.ids]


def test_fastokens_gives_the_ids_of_tokenizers(tiny_llama: Path, tiny_bert: Path) -> None:
    pytest.importorskip("fastokens")
    renderer = Renderer.from_folder(tiny_llama)
    assert renderer._quick is not None
    texts = [row.prompt or "" for row in ROWS] + list(quick.HARD)
    assert quick.agrees(renderer._quick, renderer.tokens.tokenizer, texts)
    assert Renderer.from_folder(tiny_bert)._quick is None, "it reads no WordPiece"


def test_nothing_is_loaded_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch, tiny_llama: Path) -> None:
    monkeypatch.setattr(quick, "find_spec", lambda name: None)
    assert Renderer.from_folder(tiny_llama)._quick is None
