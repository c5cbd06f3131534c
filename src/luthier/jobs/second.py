"""A run as its second objective sees it: the same model and folder, with rows, labels and metrics of its own."""

from __future__ import annotations

from dataclasses import replace

from luthier.jobs.workbench import Work
from luthier.recipe import BESIDE, MEASURED

PREFIX = "beside/"
"""Before the metrics of the second objective, where they stand among those of the first."""


def second(work: Work) -> Work:
    """The run as if what is learnt beside were all that it learns.

    Its splits are called train, validation and test; nothing is rehearsed, replayed or held.
    """
    recipe, kind = work.recipe, work.recipe.objective.beside_type
    alone = recipe.model_copy(update={
        "objective": recipe.objective.model_copy(update={"type": kind, "beside": 0.0}),
        "train": recipe.train.model_copy(update={"rehearsal": 0.0, "replay": 0.0, "ewc_lambda": 0.0}),
        "evaluate": recipe.evaluate.model_copy(update={"metrics": MEASURED[kind], "constrain": "none"}),
    })  # fmt: skip
    rows = {name: work.rows[own] for name, own in BESIDE.items() if own in work.rows}
    rendered = {name: work.rendered[own] for name, own in BESIDE.items() if own in work.rendered}
    plan = replace(work.plan, task="classify" if kind == "classify" else "text")
    return replace(work, recipe=alone, plan=plan, rows=rows, rendered=rendered)


def is_tested(work: Work) -> bool:
    """Whether the run has a second objective with test rows."""
    return bool(work.recipe.objective.beside and work.rows.get(BESIDE["test"]))
