"""Text that comes in parts says what the whole would: characters over tokens, stop strings over parts."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from luthier.serve.chat.detokenize import Detokenizer
from luthier.serve.chat.stops import StopFinder, held_back
from luthier.serve.token_bytes import byte_reader


@pytest.fixture(scope="module")
def bytewise(tiny_llama: Path) -> Tokenizer:
    return Tokenizer.from_file(str(tiny_llama / "tokenizer.json"))


@cache
def metaspace() -> Tokenizer:
    """Words with a space before them, and bytes for all else, as Llama 2 has it."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁abcdef", "▁a", "▁b", "ab", "▁ab"]
    vocabulary = {word: number for number, word in enumerate(words)}
    merges = [("▁", "a"), ("▁", "b"), ("a", "b"), ("▁a", "b")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    return tokenizer


def streamed(tokenizer: Tokenizer, ids: list[int], kept: dict[int, str] | None = None) -> list[str]:
    detokenizer = Detokenizer(tokenizer, kept or {})
    return [*(detokenizer.add(id) for id in ids), detokenizer.end()]


@given(ids=st.lists(st.integers(0, 399)))
def test_the_parts_are_the_whole_for_any_tokens(bytewise: Tokenizer, ids: list[int]) -> None:
    assert "".join(streamed(bytewise, ids)) == bytewise.decode(ids, skip_special_tokens=True).rstrip("\ufffd")


@given(text=st.text())
def test_no_part_of_a_text_has_half_a_character(bytewise: Tokenizer, text: str) -> None:
    text = text.replace("\ufffd", "")
    parts = streamed(bytewise, bytewise.encode(text).ids)
    assert "".join(parts) == text
    assert "\ufffd" not in "".join(parts)


@given(text=st.text(alphabet="ab cdef€🎻ä"))
def test_words_keep_their_spaces(text: str) -> None:
    ids = metaspace().encode(text).ids
    assert "".join(streamed(metaspace(), ids)) == metaspace().decode(ids)
    assert "".join(streamed(metaspace(), [1, *ids, 2])) == metaspace().decode(ids)


def test_some_special_tokens_can_be_kept(bytewise: Tokenizer) -> None:
    hello = bytewise.encode("é").ids
    assert len(hello) == 2
    assert streamed(bytewise, [1, *hello, 2, *hello[:1]], kept={2: "<|im_end|>"}) == ["", "", "é", "<|im_end|>", "", ""]


def test_a_token_alone_is_its_bytes(bytewise: Tokenizer) -> None:
    for tokenizer, said in ((bytewise, "a €\n🎻"), (metaspace(), "a €")):
        read = byte_reader(tokenizer)
        raw = b"".join(map(read, tokenizer.encode(said).ids))
        assert raw.decode().lstrip(" ") == said
    assert byte_reader(bytewise)(1) == b"<|im_start|>"


def first_stop(text: str, stops: list[str]) -> str:
    """The text before the stop string that is complete first, letter by letter."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - max(map(len, found))]
    return text


@given(
    parts=st.lists(st.text(alphabet="abc", max_size=4)), stops=st.lists(st.text(alphabet="abc", min_size=1), max_size=4)
)
def test_stop_strings_are_found_over_any_borders(parts: list[str], stops: list[str]) -> None:
    finder = StopFinder(stops)
    released = [finder.add(part) for part in parts]
    so_far = ""
    for part, more in zip(parts, released, strict=True):
        so_far += part
        whole = first_stop(so_far, stops)
        assert whole.startswith("".join(released[: released.index(more) + 1])[: len(whole)])
    assert "".join(released) + finder.end() == first_stop("".join(parts), stops)
    assert finder.found == any(stop in "".join(parts) for stop in stops)


def test_no_more_waits_than_may_be_a_stop_string() -> None:
    assert held_back("one <to", ("<tool>",)) == 3
    assert held_back("one <tool>", ("<tool>",)) == 0
    assert held_back("aab", ("abc", "aabd")) == 3
    finder = StopFinder(["END"])
    assert [finder.add(part) for part in ("E", "EN", "x", "EN", "D!")] == ["", "E", "ENx", "", ""]
