"""What goes with a base that is held in fewer bits, or left in its files."""

from __future__ import annotations

from collections.abc import Iterator

from luthier.recipe.faults import Fault
from luthier.recipe.types import Recipe


def may_stream(recipe: Recipe) -> bool:
    """Whether the base can stay in its files: nothing changes its weights, and they are used as they stand there."""
    return recipe.adapter.type == "lora" and recipe.number_format == "float32"


def held_base(recipe: Recipe) -> Iterator[Fault]:
    """What contradicts such a base."""
    for name in ("load_in_4bit", "load_in_8bit"):
        if getattr(recipe, name) and recipe.adapter.type != "lora":
            yield Fault(
                (name,), f"`{name}` needs `adapter: lora`, but `adapter` is `{recipe.adapter.type}`",
                "Leave it out, or change the other",
            )  # fmt: skip
        if getattr(recipe, name) and recipe.adapter.use_dora:
            yield Fault((name,), f"`{name}` and `adapter.use_dora` exclude each other", "Leave one of them out")
    if recipe.machine.stream_base is True and not may_stream(recipe):
        yield Fault(
            ("machine", "stream_base"), "`machine.stream_base` needs `adapter: lora` and a base in float32",
            "Leave it out; a base of fewer bits (`load_in_4bit`) is mapped from its file anyway",
        )  # fmt: skip
    if recipe.load_in_4bit and recipe.load_in_8bit:
        yield Fault(("load_in_8bit",), "`load_in_4bit` and `load_in_8bit` exclude each other", "Leave one of them out")
