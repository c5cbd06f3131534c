"""What a client may ask of a fine-tuning job, as OpenAI's API has it: typed, and strict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from luthier.serve.refusals import BadRequest

Auto = Literal["auto"]
Whole = Annotated[int, Field(ge=1, strict=True)]
Above0 = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Key = Annotated[str, Field(max_length=64)]
Value = Annotated[str, Field(max_length=512, strict=True)]
MOST_EPOCHS, MOST_ROWS = 50, 1024
Part = TypeVar("Part", bound=BaseModel)


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Hyperparameters(Asked):
    """Of supervised fine-tuning; `auto` is what the recipe's rules make of the data."""

    n_epochs: Auto | Annotated[Whole, Field(le=MOST_EPOCHS)] = "auto"
    batch_size: Auto | Annotated[Whole, Field(le=MOST_ROWS)] = "auto"
    learning_rate_multiplier: Auto | Above0 = "auto"


class DpoHyperparameters(Hyperparameters):
    """Of preference tuning."""

    beta: Auto | Above0 = "auto"


class Supervised(Asked):
    hyperparameters: Hyperparameters | None = None


class Dpo(Asked):
    hyperparameters: DpoHyperparameters | None = None


class Method(BaseModel):
    """Only what belongs to the `type` is read."""

    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: Any = None
    dpo: Any = None


class Wandb(Asked):
    project: str
    name: str | None = None
    entity: str | None = None
    tags: list[str] = []


class Integration(Asked):
    type: Literal["wandb"]
    wandb: Wandb


class Create(Asked):
    """The body of `POST /fine_tuning/jobs`."""

    model: Annotated[str, Field(min_length=1)]
    training_file: Annotated[str, Field(min_length=1)]
    validation_file: str | None = None
    suffix: Annotated[str, Field(max_length=64)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32, strict=True)] | None = None
    metadata: Annotated[dict[Key, Value], Field(max_length=16)] | None = None
    integrations: list[Integration] | None = None
    hyperparameters: Hyperparameters | None = None
    method: Method | None = None


def read(body: Mapping[str, Any]) -> dict[str, Any]:
    """The request with every field there is, and `method` and `hyperparameters` of that method.

    Raises BadRequest, with the field that is wrong.
    """
    asked = _checked(Create, body, "")
    method, settings = _method(asked)
    plain = asked.model_dump()
    return {**plain, "method": method, "hyperparameters": settings.model_dump()}


def _method(asked: Create) -> tuple[str, Hyperparameters]:
    if asked.method is None:
        return "supervised", asked.hyperparameters or Hyperparameters()
    kind = asked.method.type
    if kind == "reinforcement":
        raise BadRequest("reinforcement fine-tuning is not done here; `supervised` and `dpo` are", "method.type",
                         "unsupported_method")  # fmt: skip
    if kind == "dpo":
        given = _checked(Dpo, asked.method.dpo or {}, "method.dpo").hyperparameters
        return kind, given or DpoHyperparameters()
    found = _checked(Supervised, asked.method.supervised or {}, "method.supervised").hyperparameters
    return kind, found or asked.hyperparameters or Hyperparameters()


def _checked(kind: type[Part], given: Any, where: str) -> Part:
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        fault = max(error.errors(), key=lambda fault: fault["type"] != "literal_error")
        place = [str(part) for part in fault["loc"] if part not in TYPES]
        param = ".".join(filter(None, [where, *place])) or None
        raise BadRequest(f"{param or 'the body'}: {fault['msg']}", param, "invalid_value") from None


TYPES = ("literal['auto']", "float", "int", "constrained-int", "constrained-float")
"""What pydantic calls the members of a union, beside the names of fields."""
