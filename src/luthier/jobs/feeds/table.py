"""The feed of every objective, by the name that recipes use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from luthier.data.stream import Stream
from luthier.engine import fsdp
from luthier.jobs.feeds.beside import beside
from luthier.jobs.feeds.classes import classes
from luthier.jobs.feeds.feed import Feed
from luthier.jobs.feeds.held import held
from luthier.jobs.feeds.language import language
from luthier.jobs.feeds.preference import preference
from luthier.jobs.feeds.private import private
from luthier.jobs.feeds.reward import reward
from luthier.jobs.feeds.rollouts import rollouts
from luthier.jobs.feeds.teacher import imitation
from luthier.jobs.workbench import Work
from luthier.models.policy import Policy

TABLE: dict[str, Callable[[Work, Policy], Feed]] = {
    "sft": language,
    "pretrain": language,
    "classify": classes,
    "distill": imitation,
    "grpo": rollouts,
    "ppo": rollouts,
    "dpo": preference,
    "reward": reward,
}
"""objective → (what the run works with, the policy at step 0) → its feed."""


def feed_of(work: Work, policy: Policy) -> Feed:
    """The feed of the run's objective, with what else the recipe asks of its steps."""
    feed = TABLE[work.recipe.objective.type](work, policy)
    if work.recipe.objective.beside:
        feed = beside(work, policy, feed, TABLE[work.recipe.objective.beside_type])
    if work.recipe.train.ewc_lambda:
        feed = held(work, policy, feed)
    if policy.together and work.recipe.machine.parallel == "fsdp":
        feed = in_step(feed)
    return feed if work.plan.privacy is None else private(work, feed)


def in_step(feed: Feed) -> Feed:
    """The feed, with as many micro-batches on each rank, whose gradient is taken by all ranks at once."""
    assert isinstance(feed.source, Stream), "only stored rows can be dealt out evenly"
    return replace(feed, source=fsdp.Even(feed.source), seams=replace(feed.seams, gradient=fsdp.backward))
