"""A tokenizer as GGUF holds it."""

from __future__ import annotations

import json
from typing import Any

from luthier.data.render import Renderer
from luthier.errors import ModelError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Kinds of tokens, as llama.cpp numbers them."""
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {_WORDS + r"\p{N}" + _REST: "qwen2", _WORDS + r"\p{N}{1,3}" + _REST: "llama-bpe"}
"""How a text is cut before its bytes are merged → llama.cpp's name of it."""


def vocabulary(renderer: Renderer, size: int) -> dict[str, Any]:
    """The `tokenizer.` metadata by key, for a model whose embedding has `size` rows.

    Raises ModelError for a tokenizer that llama.cpp would cut into other tokens.
    """
    about = json.loads(renderer.tokens.tokenizer.to_str())
    model = about["model"]
    if model["type"] != "BPE":
        raise ModelError(f"a tokenizer of the kind {model['type']} is not written as GGUF", mend="Use the torch engine")
    pieces = bool(model.get("byte_fallback"))
    tokens, kinds = _tokens(renderer, size, pieces, about["added_tokens"])
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    own = {"ggml.scores": _scores(tokens, merges)} if pieces else {"ggml.merges": merges}
    found = {
        "ggml.model": "llama" if pieces else "gpt2",
        "ggml.pre": "default" if pieces else _cutting(about["pre_tokenizer"]),
        "ggml.tokens": tokens,
        "ggml.token_type": kinds,
        **own,
        **_special(renderer),
        "ggml.add_bos_token": renderer.tokens.adds_bos,
        "ggml.add_space_prefix": pieces and not renderer.tokens.splits,
        "chat_template": renderer.chat_template,
    }
    return {key: value for key, value in found.items() if value is not None}


def _tokens(renderer: Renderer, size: int, pieces: bool, added: list[dict[str, Any]]) -> tuple[list[str], list[int]]:
    """Text and kind of each id; ids without a token are filled up."""
    names = {index: text for text, index in renderer.tokens.vocabulary.items()}
    texts = [names.get(index, f"[PAD{index}]") for index in range(size)]
    kinds = [NORMAL if index in names else UNUSED for index in range(size)]
    if pieces:
        kinds = [BYTE if len(text) == 6 and text.startswith("<0x") else kind
                 for text, kind in zip(texts, kinds, strict=True)]  # fmt: skip
    for token in added:
        kinds[token["id"]] = CONTROL if token["special"] else USER_DEFINED
    unknown = renderer.tokens.id_of("unk_token")
    if pieces and unknown is not None:
        kinds[unknown] = UNKNOWN
    return texts, kinds


def _scores(tokens: list[str], merges: list[str]) -> list[float]:
    """What joins pieces in the order of their merges: the earlier, the higher."""
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(merges):
        ranks.setdefault(pair.replace(" ", ""), rank)
    return [-float(ranks.get(token, len(merges))) for token in tokens]


def _cutting(before: dict[str, Any] | None) -> str:
    """llama.cpp's name of what happens before bytes are merged."""
    steps = before.get("pretokenizers", [before]) if before else []
    kinds = [step["type"] for step in steps]
    if kinds == ["ByteLevel"] and steps[0].get("use_regex", True):
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and steps[0]["individual_digits"] and steps[1].get("use_regex", True):
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and not steps[1].get("use_regex", True):
        pattern = steps[0]["pattern"].get("Regex")
        if steps[0]["behavior"] == "Isolated" and pattern in SPLITS:
            return SPLITS[pattern]
    raise ModelError(f"llama.cpp would cut texts otherwise than this tokenizer does ({', '.join(kinds) or 'no cuts'})",
                     mend="Export it as `safetensors`, or serve it with the torch engine")  # fmt: skip


def _special(renderer: Renderer) -> dict[str, int | None]:
    """Ids of special tokens. What ends a turn is told apart from what ends a text, where they differ."""
    names = {"bos": "bos", "eos": "eos", "unknown": "unk", "padding": "pad"}
    ids = {f"ggml.{key}_token_id": renderer.tokens.id_of(f"{name}_token") for key, name in names.items()}
    turn = renderer.eos_ids[0] if renderer.eos_ids else None
    return ids | {"ggml.eot_token_id": turn if turn != ids["ggml.eos_token_id"] else None}
