"""Preference pairs for a reward model: both answers' rows side by side, or what the frozen trunk says of them."""

from __future__ import annotations

from luthier.data.pairs import ROWS
from luthier.data.stream import MakeBatches, precomputed
from luthier.engine.first_head import fit_head
from luthier.jobs.feeds.classes import trunk_features
from luthier.jobs.feeds.feed import Feed, shuffled
from luthier.jobs.feeds.preference import LEARNT_FROM, on_validation, pair_batches, pair_lengths, pair_weights
from luthier.jobs.workbench import Split, Work
from luthier.models.policy import Policy
from luthier.objectives import TABLE


def reward(work: Work, policy: Policy) -> Feed:
    """Validated by the loss and the share of pairs ranked right; on a frozen trunk it begins with the best head."""
    objective, count = TABLE["reward"](work.recipe.objective, False), len(work.rows["train"])
    frozen = work.recipe.adapter.type == "head"
    make = {split: _batches(work, policy, split, frozen) for split in LEARNT_FROM if split in work.rendered}

    def begin() -> None:
        if frozen:
            (rows,) = make["train"](range(count))
            with work.stages.stage("first head"):
                fit_head(policy, objective, rows.to(policy.device))

    source, measure = shuffled(work, make["train"], count), on_validation(work, objective, make)
    return Feed(source, objective, measure, begin, lengths=None if frozen else pair_lengths(work))


def _batches(work: Work, policy: Policy, split: Split, frozen: bool) -> MakeBatches:
    if not frozen:
        return pair_batches(work, policy, split, {})
    columns = pair_weights(work, split) | {"features": trunk_features(work, policy, split)}
    return precomputed(work.rendered[split].lengths, columns, together=ROWS)
