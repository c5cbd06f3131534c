"""A second objective beside the first: which splits are its own, and what it asks of the rest of a recipe."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from luthier.recipe.faults import Fault, no_effect
from luthier.recipe.objective import Objective
from luthier.recipe.types import Recipe

BESIDE = {"train": "beside", "validation": "beside_validation", "test": "beside_test"}
"""What a split of the second objective is called, by what it is to it."""


def contradictions_beside(recipe: Recipe, text: Collection[str]) -> Iterator[Fault]:
    """What contradicts a second objective; it stands beside those in `text`, which learn text."""
    objective = recipe.objective
    given = {entry.split: index for index, entry in reversed(list(enumerate(recipe.data)))}
    if objective.beside and objective.type not in text:
        yield _other_way_round(objective)
    elif bool(objective.beside) != ("beside" in given):
        key = ("data", given["beside"], "split") if "beside" in given else ("objective", "beside")
        yield no_effect(
            key, "`objective.beside`, its weight," if "beside" in given else "a data entry with `split: beside`"
        )
    if objective.beside_type != Objective().beside_type and not objective.beside:
        yield no_effect(("objective", "beside_type"), "`objective.beside`, its weight,")
    for split in ("beside_validation", "beside_test"):
        if split in given and not (objective.beside and objective.beside_type == "classify"):
            yield no_effect(("data", given[split], "split"), "`objective.beside` and `objective.beside_type: classify`")
    if recipe.privacy.wanted and objective.beside:
        yield Fault(("objective", "beside"), "what is learnt beside private rows would not be private",
                    "Leave it or `privacy` out, or give text as rows")  # fmt: skip


def _other_way_round(objective: Objective) -> Fault:
    if objective.type == "classify":
        what = "`objective.beside` stands beside an objective that learns text, and `classify` learns labels"
        mend = ("Write `objective: {type: sft, beside: 0.3, beside_type: classify}`, with the answers as train rows, "
                "and `split: beside` at the rows with labels")  # fmt: skip
        return Fault(("objective", "beside"), what, mend)
    what = f"`objective.beside` stands beside an objective that learns text, and `{objective.type}` "
    what += "compares answers" if objective.type in ("dpo", "reward") else "learns from answers it samples itself"
    return Fault(("objective", "beside"), what, "Leave it and its rows out, or train on them in a run of their own")
