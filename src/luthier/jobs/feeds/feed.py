"""What a fit is handed: batches, how they are scored, and how progress is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from luthier.data.stream import MakeBatches, Stream
from luthier.engine import world
from luthier.engine.loop import Source
from luthier.engine.seams import Seams
from luthier.jobs.workbench import Work
from luthier.models.policy import Policy
from luthier.objectives import Objective
from luthier.recipe import total_steps

Measure = Callable[[Policy], dict[str, float]]
"""The policy → metrics on the validation split; none where there is no such split."""


@dataclass(frozen=True)
class Feed:
    """What an objective learns from, and how.

    `begin` runs once, before the first step of a run and not when it is resumed. `learns_rows` says whether the rows
    of the data are what is learnt, so that their losses say something about them. `lengths` are the tokens of each
    row, or of each unit of rows that is not cut, by the numbers that `source` deals in; of answers that are sampled,
    the most there can be; None where what is learnt has no tokens.
    """

    source: Source
    objective: Objective
    measure: Measure
    begin: Callable[[], None] = lambda: None
    seams: Seams = field(default_factory=Seams)
    learns_rows: bool = True
    lengths: np.ndarray | None = None


def shuffled(work: Work, make: MakeBatches, count: int) -> Stream:
    """`count` training rows, shuffled anew each epoch, for as many steps as the recipe has."""
    train = work.recipe.train
    batch_size = int(train.batch_size)
    steps = total_steps(work.recipe, len(work.rows["train"]))
    total = min(steps * batch_size, round(count * float(train.num_epochs)))
    return Stream(make, count, batch_size, total, train.seed, work.plan.dataset_version, world.rank(), world.size())


def reached(work: Work, count: int) -> list[int]:
    """The numbers of those of `count` training rows that the plan's steps learn from, in rising order."""
    order = shuffled(work, lambda numbers: [], count)
    return sorted({number for step in range(order.steps) for number in order.numbers(step)})
