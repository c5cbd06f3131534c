"""Encoded rows → flat arrays: weights of tokens, lengths, and the checks that every row must pass."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np
from tokenizers import Encoding

from luthier.data.example import Example
from luthier.data.plan import Objective, Plan
from luthier.data.rendered import Rendered, RenderReport
from luthier.data.tokens import Tokens
from luthier.errors import DataError, ModelError

Truncation = Literal["error", "drop", "right"]
NAMED_ROWS = 5
Piece = tuple[int, Encoding]
"""The first character of a part of a text, and the part's encoding."""


class Gather:
    """Takes rows one by one; `finish` makes the arrays."""

    def __init__(self, tokens: Tokens, objective: Objective, sequence_len: int | None, truncation: Truncation) -> None:
        self._tokens, self._objective = tokens, objective
        self._limit, self._truncation = sequence_len, truncation
        self._added = frozenset(tokens.added.values())
        self._bos = tokens.id_of("bos_token")
        self._eos = tokens.id_of("eos_token")
        self._ids: list[np.ndarray] = []
        self._weights: list[np.ndarray] = []
        self._kept: list[int] = []
        self._row_ids: list[str] = []
        self._seen = self._longest = 0
        self._too_long: list[tuple[str, int]] = []
        self._zero: list[str] = []
        self._unlike_prompt: list[str] = []

    def add(self, number: int, example: Example, plan: Plan, pieces: Sequence[Piece]) -> None:
        """One row: `pieces` are (first character, encoding) of consecutive parts of `plan.text`."""
        ids = self._row_of(example, pieces)
        weights = self._weigh(example, plan, pieces, ids)
        self._seen += 1
        self._longest = max(self._longest, len(ids))
        if self._limit is not None and len(ids) > self._limit:
            self._too_long.append((example.row_id, len(ids)))
            if self._truncation != "right":
                return
            ids, weights = self._cut(plan, ids), weights[: self._limit]
        if self._objective != "classify" and not weights.any():
            self._zero.append(example.row_id)
            return
        self._ids.append(ids)
        self._weights.append(weights)
        self._kept.append(number)
        self._row_ids.append(example.row_id)
        if plan.unlike_prompt:
            self._unlike_prompt.append(example.row_id)

    def finish(self) -> Rendered:
        """Raises DataError where rows are longer than allowed, or none is left."""
        self._check_lengths()
        self._check_any_left()
        lengths = np.array([len(ids) for ids in self._ids], dtype=np.int64)
        names = tuple(row_id for row_id, _ in self._too_long)
        counts = np.array([np.count_nonzero(weights) for weights in self._weights])
        report = RenderReport(
            rows=len(self._kept),
            tokens=int(lengths.sum()),
            trained_tokens=int(counts.sum()),
            coverage=(counts / lengths).astype(np.float32),
            zero_coverage=tuple(self._zero),
            truncated=names if self._truncation == "right" else (),
            dropped=names if self._truncation == "drop" else (),
            unlike_prompt=tuple(self._unlike_prompt),
            longest=self._longest,
        )
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        ids = np.concatenate([np.empty(0, np.int32), *self._ids])
        weights = np.concatenate([np.empty(0, np.float32), *self._weights])
        return Rendered(ids, weights, offsets, self._row_ids, np.array(self._kept, dtype=np.int64), report)

    def _row_of(self, example: Example, pieces: Sequence[Piece]) -> np.ndarray:
        ids = [index for _, piece in pieces for index in piece.ids]
        if self._objective == "pretrain":
            if self._eos is None:
                raise ModelError("the tokenizer names no eos token", mend="Name `eos_token` in tokenizer_config.json")
            ids += [self._eos] if ids[-1:] != [self._eos] else []
        if not ids:
            raise DataError("has no tokens", example.row_id, "Remove the row: its text is empty")
        if len(ids) > 1 and ids[0] == ids[1] == self._bos:
            mend = "Take bos_token out of the chat template or of the text"
            raise DataError("begins with two bos tokens", example.row_id, mend)
        return np.array(ids, dtype=np.int32)

    def _weigh(self, example: Example, plan: Plan, pieces: Sequence[Piece], ids: np.ndarray) -> np.ndarray:
        weights = np.full(len(ids), plan.weight, dtype=np.float32)
        if plan.spans:
            starts = _token_starts(pieces, plan)
            for span, weight in plan.spans:
                low, high = np.searchsorted(starts, span)
                if weight and (high == low or int(ids[high - 1]) not in self._added):
                    mend = "Give a `chat_template` that writes a special token behind each answer"
                    raise DataError("has an answer whose end would not be learnt", example.row_id, mend)
                weights[low:high] = weight
        weights[0] = 0  # nothing stands before it
        return weights * np.float32(example.weight)

    def _cut(self, plan: Plan, ids: np.ndarray) -> np.ndarray:
        """The first `sequence_len` tokens; for a classifier, the special tokens at both ends stay."""
        if self._objective != "classify":
            return ids[: self._limit]
        tokenizer = self._tokens.tokenizer
        encoding = tokenizer.encode(plan.text, add_special_tokens=False)
        encoding.truncate(max((self._limit or 0) - tokenizer.num_special_tokens_to_add(False), 0))
        return np.array(tokenizer.post_process(encoding, None, True).ids, dtype=np.int32)

    def _check_lengths(self) -> None:
        if self._truncation != "error" or not self._too_long:
            return
        longest = sorted(self._too_long, key=lambda row: -row[1])
        named = ", ".join(f"{row_id} ({length})" for row_id, length in longest[:NAMED_ROWS])
        raise DataError(
            f"{len(longest)} of {self._seen} rows are longer than {self._limit} tokens: {named}",
            mend="Set `train.truncation: drop` (leave out) or `right` (cut), or, where the model reads as many, "
            f"`train.sequence_len: {longest[0][1]}`",
        )

    def _check_any_left(self) -> None:
        if self._kept or not self._seen:
            return
        if self._zero:
            named = ", ".join(self._zero[:NAMED_ROWS])
            mend = "Each row needs an assistant turn whose weight is not 0, within `train.sequence_len`"
            raise DataError(f"there is nothing to learn in any of {self._seen} rows: {named}", mend=mend)
        raise DataError(
            f"all {self._seen} rows are longer than {self._limit} tokens",
            mend=f"Set `train.sequence_len: {self._longest}`",
        )


def _token_starts(pieces: Sequence[Piece], plan: Plan) -> np.ndarray:
    """The first character of each token; of its piece, where answers begin and end with pieces."""
    firsts = [first for first, _ in pieces]
    if bounded(plan, firsts):
        return np.repeat(firsts, [len(piece.ids) for _, piece in pieces])
    return np.array([first + start for first, piece in pieces for start, _ in piece.offsets], dtype=np.int64)


def bounded(plan: Plan, firsts: Collection[int]) -> bool:
    """Whether pieces that begin at these characters tell where the answers lie, without the offsets of tokens."""
    edges = {*firsts, len(plan.text)}
    return all(edge in edges for span, _ in plan.spans for edge in span)
