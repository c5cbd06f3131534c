from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, get_args

from luthier.cli.options import AsJson
from luthier.cli.screen import emit, facts, heading, table


def methods(as_json: AsJson = False) -> None:
    """List the objectives, the adapters, and which go together."""
    from luthier.recipe.types import Adapter, Objective

    document = {"objectives": choices(Objective), "adapters": choices(Adapter), "pairs": list(pairs())}
    emit(document, as_json, show)


def choices(section: Any) -> dict[str, str]:
    """Each value that the section's `type` may have, with what its documentation says of it."""
    field = section.model_fields["type"]
    words = dict(re.findall(r"`(\w+)`: ([^;]+?)(?=[;.]|$)", field.description))
    return {name: words[name] for name in get_args(field.annotation)}


def pairs() -> Iterator[dict[str, str]]:
    """The combinations of objective and adapter that a recipe may have."""
    from luthier.recipe.rules import contradictions
    from luthier.recipe.types import Adapter, Objective, Recipe

    for objective, adapter in product(choices(Objective), choices(Adapter)):
        given = {"base_model": "any", "data": "any", "objective": objective, "adapter": adapter}
        if not list(contradictions(Recipe.model_validate(given))):
            yield {"objective": objective, "adapter": adapter}


def show(document: Mapping[str, Any]) -> None:
    print("objective")
    facts(document["objectives"].items())
    heading("adapter")
    facts(document["adapters"].items())
    heading("together")
    allowed = {(pair["objective"], pair["adapter"]) for pair in document["pairs"]}
    adapters = list(document["adapters"])
    rows = [
        (objective, *("yes" if (objective, adapter) in allowed else "–" for adapter in adapters))
        for objective in document["objectives"]
    ]
    table(["", *adapters], rows)
