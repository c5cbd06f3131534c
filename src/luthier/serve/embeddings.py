"""What a client asks vectors of, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from luthier.serve.model import Model
from luthier.serve.refusals import BadRequest, TooLong

KNOWN = frozenset({"model", "input", "encoding_format", "dimensions", "user"})
MOST_ROWS = 2048


@dataclass(frozen=True)
class EmbeddingRequest:
    """Texts, or rows of token ids that the client has made."""

    model: str
    inputs: tuple[str | tuple[int, ...], ...]
    base64: bool
    dimensions: int | None

    def check_width(self, width: int) -> None:
        """Raises BadRequest where another number of dimensions was asked for than the model has."""
        if self.dimensions not in (None, width):
            what = f"the model's vectors have {width} dimensions, and lose their meaning when they are cut"
            raise BadRequest(f"{what}: leave `dimensions` out", "dimensions", "unsupported_value")


def parse(body: Mapping[str, Any]) -> EmbeddingRequest:
    """Raises BadRequest, with the parameter that is wrong."""
    for name in body.keys() - KNOWN:
        raise BadRequest(f"`{name}` is not a parameter of this service: leave it out", name, "unknown_parameter")
    model, form, dimensions = body.get("model"), body.get("encoding_format"), body.get("dimensions")
    if not isinstance(model, str) or not model:
        raise BadRequest("`model` must be the name of a model", "model")
    if form not in (None, "float", "base64"):
        raise BadRequest("`encoding_format` must be `float` or `base64`", "encoding_format")
    if dimensions is not None and (type(dimensions) is not int or dimensions < 1):
        raise BadRequest("`dimensions` must be a number above 0", "dimensions")
    if body.get("user") is not None and not isinstance(body["user"], str):
        raise BadRequest("`user` must be a text", "user")
    return EmbeddingRequest(model, _inputs(body.get("input")), form == "base64", dimensions)


def _inputs(given: Any) -> tuple[str | tuple[int, ...], ...]:
    rows = [given] if isinstance(given, str) or _is_ids(given) else given
    if not isinstance(rows, list) or not rows:
        raise BadRequest("`input` must be a text, a list of texts, or token ids", "input")
    if len(rows) > MOST_ROWS:
        raise BadRequest(f"`input` has {len(rows)} rows, and at most {MOST_ROWS} are taken", "input")
    for number, row in enumerate(rows):
        if not row or not (isinstance(row, str) or _is_ids(row)):
            raise BadRequest(f"row {number} of `input` is neither a text with something in it nor token ids", "input")
    return tuple(row if isinstance(row, str) else tuple(row) for row in rows)


def _is_ids(row: Any) -> bool:
    return isinstance(row, list) and bool(row) and all(type(index) is int for index in row)


def rows_of(model: Model, asked: EmbeddingRequest) -> list[list[int]]:
    """Token ids of each input, with the special tokens of the model around texts.

    Raises BadRequest for ids that are none of the model's, TooLong for rows beyond its context.
    """
    if model.kind != "encoder":
        raise BadRequest(f"{model.name!r} writes text and makes no vectors: ask an encoder", "model", "wrong_model")
    size = model.renderer.vocab_size
    rows = [model.renderer.encode(row, special=True) if isinstance(row, str) else list(row) for row in asked.inputs]
    for number, row in enumerate(rows):
        if len(row) > model.context_length:
            what = f"row {number} of `input` has {len(row)} tokens, and the model reads {model.context_length}"
            raise TooLong(f"{what}: shorten it", "input")
        if not all(0 <= index < size for index in row):
            raise BadRequest(f"row {number} of `input` has ids that are none of the model's {size} tokens", "input")
    return rows
