"""A second objective in each step: plain text that is learnt beside the rows, with a weight and units of its own."""

from __future__ import annotations

from dataclasses import replace

from luthier.data.stream import Interleaved, Stream
from luthier.jobs.feeds.feed import Feed
from luthier.jobs.feeds.language import packs
from luthier.jobs.workbench import Work
from luthier.models.policy import Policy
from luthier.objectives import TABLE
from luthier.objectives.together import TASK, Part, together
from luthier.recipe import total_steps


def beside(work: Work, policy: Policy, feed: Feed) -> Feed:
    """The feed, and in each step as large a share of the text as of the rows."""
    assert isinstance(feed.source, Stream), "only stored rows have a text beside them"
    settings, train, rows = work.recipe.objective, work.recipe.train, work.rendered["beside"]
    size = max(1, round(feed.source.batch_size * len(rows) / len(work.rows["train"])))
    steps = total_steps(work.recipe, len(work.rows["train"]))
    text = Stream(
        packs(work, policy, rows, "beside"), len(rows), size, size * steps, train.seed, work.plan.dataset_version
    )
    parts = {settings.type: Part(feed.objective), "beside": Part(TABLE["pretrain"](settings, False), settings.beside)}
    return replace(feed, source=Interleaved((feed.source, text), TASK), objective=together(parts))
