"""A tokenizer in GGUF: the tokens at their ids, what they are, and how texts are cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from luthier.data.render import Renderer
from luthier.errors import ModelError
from luthier.models.export.gguf_vocabulary import SPLITS, vocabulary

BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
DIGITS = pre_tokenizers.Digits(individual_digits=True)
CUTS: dict[str, Any] = {
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": pre_tokenizers.Sequence([DIGITS, pre_tokenizers.ByteLevel(add_prefix_space=False)]),
    **{
        name: pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), BYTES])
        for pattern, name in SPLITS.items()
    },
}


def renderer(folder: Path, llama: Path, cut: Any) -> Renderer:
    """The tiny Llama's tokenizer, with texts cut in another way."""
    tokenizer = Tokenizer.from_file(str(llama / "tokenizer.json"))
    tokenizer.pre_tokenizer = cut
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text((llama / "tokenizer_config.json").read_text())
    return Renderer.from_folder(folder)


@pytest.mark.parametrize("name", CUTS)
def test_the_way_texts_are_cut_has_llama_cpps_name(name: str, tiny_llama: Path, tmp_path: Path) -> None:
    assert vocabulary(renderer(tmp_path, tiny_llama, CUTS[name]), 400)["ggml.pre"] == name


def test_another_way_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    cut = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), BYTES])
    with pytest.raises(ModelError, match="cut texts otherwise"):
        vocabulary(renderer(tmp_path, tiny_llama, cut), 400)


def test_rows_of_the_embedding_without_a_token_are_filled_up(tiny_llama: Path) -> None:
    found = vocabulary(Renderer.from_folder(tiny_llama), 404)
    assert found["ggml.tokens"][400:] == ["[PAD400]", "[PAD401]", "[PAD402]", "[PAD403]"]
    assert found["ggml.token_type"][398:] == [1, 1, 5, 5, 5, 5]


def test_the_end_of_a_turn_is_named_where_it_is_not_the_end_of_a_text(tiny_llama: Path, tmp_path: Path) -> None:
    assert "ggml.eot_token_id" not in vocabulary(Renderer.from_folder(tiny_llama), 400)
    (tmp_path / "tokenizer.json").write_text((tiny_llama / "tokenizer.json").read_text())
    about = json.loads((tiny_llama / "tokenizer_config.json").read_text()) | {"eos_token": "<|endoftext|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(about))
    found = vocabulary(Renderer.from_folder(tmp_path), 400)
    assert (found["ggml.eos_token_id"], found["ggml.eot_token_id"]) == (0, 2)


def test_pieces_are_joined_in_the_order_of_their_merges(tmp_path: Path) -> None:
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{n:02X}>" for n in range(3)), "▁", "a", "b", "ab", "▁ab"]
    names = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(
        models.BPE(names, [("a", "b"), ("▁", "ab")], unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(special))
    found = vocabulary(Renderer.from_folder(tmp_path), len(tokens))
    assert (found["ggml.model"], found["ggml.pre"]) == ("llama", "default")
    assert found["ggml.token_type"] == [2, 3, 3, 6, 6, 6, 1, 1, 1, 1, 1]
    scores = dict(zip(tokens, found["ggml.scores"], strict=True))
    assert scores["ab"] > scores["▁ab"] > scores["a"]
    assert "ggml.merges" not in found
