"""A model in service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from luthier.data.render import Renderer

if TYPE_CHECKING:
    from luthier.serve.engines.remote import Remote


@dataclass(frozen=True)
class Model:
    """A name that was asked for, and all that it takes to answer for it."""

    name: str
    """As it was asked for."""
    ref: str
    """`name@3` of the registry, or the base model's name."""
    base_model: str
    adapter: str | None
    """What the engine calls the adapter: the hash of its files."""
    run_id: str | None
    kind: Literal["decoder", "encoder"]
    renderer: Renderer
    """The tokenizer and chat template that the training rows were made with."""
    context_length: int
    engine: Remote
    engine_name: str
    created: int
    """Seconds since 1970."""
