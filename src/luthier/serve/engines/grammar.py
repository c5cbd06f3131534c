"""Which tokens may come next, so that the text of an answer satisfies a JSON schema (llguidance)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from luthier.errors import MissingExtra, ModelError

WHITESPACE = r"[\x20]?|\n[\x20]{0,16}"
"""What may stand between two parts of a JSON text. Without a bound, a model in doubt writes spaces to no end."""


class Grammars:
    """Reads the tokenizer of a model folder when the first schema comes. `vocabulary`: how many logits the model has.

    Raises MissingExtra, where llguidance is not installed, and ModelError for a schema that cannot be followed.
    """

    def __init__(self, folder: Path, vocabulary: int) -> None:
        self.folder, self.vocabulary = folder, vocabulary
        self._tokenizer: Any = None

    def matcher(self, schema: Mapping[str, Any], stop_ids: Sequence[int]) -> Matcher:
        """What an answer that begins now may consist of."""
        try:
            from llguidance import LLMatcher, LLTokenizer
        except ImportError as error:
            raise MissingExtra("llguidance is not installed", mend="Install luthier[serve]") from error
        if self._tokenizer is None:
            tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
            self._tokenizer = LLTokenizer(tokenizer.to_str(), n_vocab=self.vocabulary)
        grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), {"whitespace_pattern": WHITESPACE})
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise ModelError(f"the schema cannot be followed: {matcher.get_error()}")
        return Matcher(matcher, self._tokenizer.eos_tokens, stop_ids, self.vocabulary)


class Matcher:
    """One answer on its way through a schema. Where its text is complete, the answer's own `stop_ids` may end it."""

    def __init__(self, matcher: Any, own_ends: Sequence[int], stop_ids: Sequence[int], vocabulary: int) -> None:
        self.matcher, self.vocabulary = matcher, vocabulary
        self.own_ends, self.stop_ids = list(own_ends), list(stop_ids)

    def allowed(self) -> np.ndarray:
        """Which ids may come next, (V,)."""
        bits = np.frombuffer(self.matcher.compute_bitmask(), np.uint8)
        allowed = np.unpackbits(bits, count=self.vocabulary, bitorder="little").astype(bool)
        allowed[self.own_ends] = False
        allowed[self.stop_ids] = self.matcher.is_accepting()
        return allowed

    def take(self, id: int) -> bool:
        """Go on with this id; whether the text is complete and can have no more."""
        self.matcher.consume_token(id)
        assert not self.matcher.is_error(), self.matcher.get_error()
        return bool(self.matcher.is_stopped())
