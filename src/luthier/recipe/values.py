"""The kinds of values that a recipe's keys take, and what its sections have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from luthier.recipe.units import parse_memory, parse_time


@dataclass(frozen=True)
class Takes:
    """What a checked text looks like, in the words of an error message."""

    words: str


def _checked_time(text: str) -> str:
    parse_time(text)
    return text


def _checked_memory(text: str) -> str:
    parse_memory(text)
    return text


STORED = "dataset:"
"""How the path of a data entry begins that names a dataset version of the home."""
Auto = Literal["auto"]
Positive = Annotated[int, Field(gt=0, strict=True)]
Count = Annotated[int, Field(ge=0, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]
Fraction = Annotated[float, Field(ge=0, lt=1, strict=True)]
Above0 = Annotated[float, Field(gt=0, strict=True)]
AtLeast0 = Annotated[float, Field(ge=0, strict=True)]
Switch = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"),
    Takes("a name of at most 100 letters, digits, `.`, `_` and `-`, such as `tickets`"),
]
Time = Annotated[str, AfterValidator(_checked_time), Takes("a time such as `90s`, `30m` or `1h30m`")]
Memory = Annotated[str, AfterValidator(_checked_memory), Takes("an amount such as `8GB` or `512MB`")]
Metric = Literal["exact_match", "json_match", "accuracy", "macro_f1", "nll", "preference_accuracy"]
NumberFormat = Literal["float32", "nf4", "int8"]
Precision = Literal["float32", "bfloat16", "float16"]
DataType = Literal[
    "auto", "chat", "sharegpt", "alpaca", "prompt_completion", "text", "preference", "kto", "classification"
]


class Part(BaseModel):
    """Base of all recipe sections: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
