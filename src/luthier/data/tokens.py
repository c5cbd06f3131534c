"""A model's tokenizer and special tokens, read from its folder with `tokenizers` alone."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Encoding, Tokenizer

from luthier.errors import ModelError


@dataclass(frozen=True)
class Tokens:
    """A tokenizer that neither pads nor truncates, and what its folder says about special tokens."""

    tokenizer: Tokenizer
    special: dict[str, str]
    """`bos_token`, `eos_token`, … → their text, as chat templates name them."""
    stop_ids: tuple[int, ...]
    """Ids after which the model is known to stop, by its generation settings and its eos token."""
    template: str | None
    """The folder's chat template."""
    sha256: str
    """The hash of tokenizer.json and `special`."""

    @classmethod
    def from_folder(cls, folder: Path) -> Tokens:
        """Raises ModelError where tokenizer.json is missing or broken."""
        raw = _read(folder / "tokenizer.json")
        try:
            tokenizer = Tokenizer.from_str(raw)
        except Exception as error:  # `tokenizers` raises bare Exceptions
            raise ModelError(f"cannot be read ({error})", str(folder / "tokenizer.json"), "Copy it again") from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        config = _json(folder / "tokenizer_config.json")
        special = _special_tokens({**_json(folder / "special_tokens_map.json"), **config})
        key = raw + json.dumps(special, sort_keys=True)
        stops = _stop_ids(tokenizer, special, folder)
        return cls(tokenizer, special, stops, _template(folder, config), hashlib.sha256(key.encode()).hexdigest())

    @property
    def vocabulary(self) -> dict[str, int]:
        """All tokens and their ids."""
        return self.tokenizer.get_vocab(with_added_tokens=True)

    def id_of(self, name: str) -> int | None:
        """The id of special token `name` (`bos_token`, …), None where the model has none."""
        return self.tokenizer.token_to_id(self.special[name]) if name in self.special else None

    @cached_property
    def added(self) -> dict[str, int]:
        """Tokens that are found in a text before anything else, such as <|im_end|>, and their ids."""
        return {token.content: index for index, token in self.tokenizer.get_added_tokens_decoder().items()}

    def added_pattern(self) -> re.Pattern[str]:
        """Matches any added token, the longest first."""
        names = sorted(self.added, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, names)) or r"(?!)")

    @cached_property
    def adds_bos(self) -> bool:
        """Whether the tokenizer itself opens a text with bos."""
        opening = self.tokenizer.encode("", add_special_tokens=True).ids
        return bool(opening) and opening[0] == self.id_of("bos_token")

    @cached_property
    def splits(self) -> bool:
        """Whether a text may be encoded in two parts: not where every part would get a space before it."""
        first = self.tokenizer.encode("a", add_special_tokens=False).tokens[:1]
        return not first or not first[0].startswith(("▁", "Ġ"))

    @cached_property
    def closing(self) -> tuple[str, ...]:
        """Added tokens behind which a text may be cut: they are found whatever follows, and take nothing of it."""
        tokens = self.tokenizer.get_added_tokens_decoder().values()
        if not self.splits or any(token.single_word for token in tokens):
            return ()
        return tuple(token.content for token in tokens if not token.normalized and not token.rstrip)

    def encode(self, texts: Sequence[str], special: bool = False) -> list[Encoding]:
        """Encodes a batch on all cores; with `special`, the tokenizer adds bos, [CLS] and the like."""
        return self.tokenizer.encode_batch(list(texts), add_special_tokens=special)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error.reason
        raise ModelError(f"cannot be read ({why})", str(path), "Copy it from where the model came") from error


def _json(path: Path) -> dict[str, Any]:
    """A JSON object; an absent file is an empty one."""
    if not path.exists():
        return {}
    try:
        return dict(json.loads(_read(path)))
    except (TypeError, ValueError) as error:
        raise ModelError(f"is not a JSON object ({error})", str(path), "Copy it from where the model came") from error


def _special_tokens(config: dict[str, Any]) -> dict[str, str]:
    tokens = {name: value for name, value in config.items() if name.endswith("_token")}
    texts = {name: value.get("content") if isinstance(value, dict) else value for name, value in tokens.items()}
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def _stop_ids(tokenizer: Tokenizer, special: dict[str, str], folder: Path) -> tuple[int, ...]:
    generation = _json(folder / "generation_config.json") or _json(folder / "config.json")
    named = generation.get("eos_token_id")
    ids = named if isinstance(named, list) else [named]
    ids = [*ids, tokenizer.token_to_id(special["eos_token"]) if "eos_token" in special else None]
    return tuple(dict.fromkeys(index for index in ids if isinstance(index, int)))


def _template(folder: Path, config: dict[str, Any]) -> str | None:
    """chat_template.jinja, or `chat_template` of tokenizer_config.json; of several named ones, `default`."""
    if (folder / "chat_template.jinja").exists():
        return _read(folder / "chat_template.jinja")
    found = config.get("chat_template")
    if isinstance(found, list):
        found = {entry["name"]: entry["template"] for entry in found}.get("default")
    return found
