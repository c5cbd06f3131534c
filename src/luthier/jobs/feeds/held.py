"""What every objective on text learns from, with weights held that rows of earlier data depend on."""

from __future__ import annotations

from dataclasses import replace

from luthier.data.stream import packed
from luthier.engine.elastic import empirical_fisher, hold
from luthier.jobs.feeds.feed import Feed
from luthier.jobs.feeds.language import in_turn
from luthier.jobs.workbench import Work
from luthier.models.policy import Policy
from luthier.objectives import TABLE

FISHER_ROWS = 256
"""Earlier rows whose gradients are squared, at most."""


def held(work: Work, policy: Policy, feed: Feed) -> Feed:
    """The feed with EWC towards `policy`, which is at step 0."""
    rows, parameters = work.rendered["earlier"], policy.trainable()
    numbers = in_turn(len(rows), min(FISHER_ROWS, len(rows)), work.recipe.train.seed)
    make, likelihood = packed(rows, 1), TABLE["sft"](work.recipe.objective, False)
    with work.stages.stage("what earlier rows depend on"):
        batches = (batch for number in numbers for batch in make([int(number)]))
        fisher = empirical_fisher(policy, likelihood, batches)
    pull = hold(work.recipe.train.ewc_lambda, fisher, parameters)
    return replace(feed, seams=replace(feed.seams, after_backward=(*feed.seams.after_backward, pull)))
