"""A second objective in each step: its rows are learnt beside the others, with a weight and units of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from luthier.data.stream import Interleaved, Stream
from luthier.jobs.feeds.feed import Feed
from luthier.jobs.second import PREFIX, second
from luthier.jobs.workbench import Work
from luthier.models.policy import Policy
from luthier.objectives.together import TASK, Part, together
from luthier.recipe import total_steps


def beside(work: Work, policy: Policy, feed: Feed, feed_of_second: Callable[[Work, Policy], Feed]) -> Feed:
    """The feed, and in each step as large a share of the second objective's rows as of the first's.

    Both begin before step 1 and both are measured; metrics of the second begin with `PREFIX`.
    """
    assert isinstance(feed.source, Stream), "only stored rows have others beside them"
    settings = work.recipe.objective
    own = feed_of_second(paced(work, feed.source.batch_size), policy)
    assert isinstance(own.source, Stream), "only stored rows are learnt beside others"
    parts = {settings.type: Part(feed.objective), "beside": Part(own.objective, settings.beside)}

    def begin() -> None:
        feed.begin()
        own.begin()

    def measure(policy: Policy) -> dict[str, float]:
        return feed.measure(policy) | {PREFIX + name: value for name, value in own.measure(policy).items()}

    source = Interleaved((feed.source, own.source), TASK)
    return replace(feed, source=source, objective=together(parts), begin=begin, measure=measure)


def paced(work: Work, batch_size: int) -> Work:
    """The second objective's run at the pace of the first: as many steps, as large a share of its rows in each."""
    alone, rows = second(work), len(work.rows["train"])
    count, steps = len(alone.rows["train"]), total_steps(work.recipe, rows)
    size = max(1, round(batch_size * count / rows))
    pace = {"batch_size": size, "num_epochs": size * steps / count, "max_steps": steps}
    recipe = alone.recipe
    return replace(alone, recipe=recipe.model_copy(update={"train": recipe.train.model_copy(update=pace)}))
