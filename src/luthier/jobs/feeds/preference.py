"""Preference pairs: both answers' rows side by side, and how likely each was to the policy at step 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from luthier.data.batch import Batch
from luthier.data.pairs import ROWS
from luthier.data.stream import MakeBatches, packed
from luthier.jobs.feeds.feed import Feed, Measure, reached, shuffled
from luthier.jobs.feeds.frozen import above_frozen
from luthier.jobs.operations import costs_of
from luthier.jobs.workbench import Split, Work
from luthier.models.kept import kept
from luthier.models.lanes import lanes_for, side_by_side
from luthier.models.policy import Policy
from luthier.models.score import over_rows, row_logprobs
from luthier.objectives import TABLE, Objective, Scored

LEARNT_FROM: tuple[Split, ...] = ("train", "validation")


def preference(work: Work, policy: Policy) -> Feed:
    """Validated by the loss, and by the share of pairs whose margin over step 0 is above 0."""
    objective = TABLE["dpo"](work.recipe.objective, False)
    make = {
        split: pair_batches(work, policy, split, {"reference_logp": reference(work, policy, split)})
        for split in LEARNT_FROM
        if split in work.rendered
    }
    source, measure = shuffled(work, make["train"], len(work.rows["train"])), on_validation(work, objective, make)
    return Feed(source, objective, measure, lengths=pair_lengths(work))


def reference(work: Work, policy: Policy, split: Split) -> np.ndarray:
    """The log-probability of each answer under the policy at step 0, (rows,): computed once, before the first step.

    Kept by all that decides it: the base, the adapter's settings, the seed of its weights, and the rows. It is 0 in
    training rows that the plan does not reach.
    """
    budget, rows = int(work.plan.forecast["micro_batch_tokens"]), work.rendered[split]
    start = f"{work.files.weights_key} {work.recipe.adapter.model_dump_json()} {work.recipe.train.seed}"
    chosen = _rows_reached(work) if split == "train" else range(len(rows))

    def compute() -> np.ndarray:
        return over_rows(policy, rows, budget, lambda batch: row_logprobs(policy, batch), True, chosen, progress)

    found = np.zeros(len(rows))
    with work.stages.stage(f"reference ({split})") as progress:
        found[list(chosen)] = kept(work.home.cache("references"), start, rows, compute, chosen)
    return found


def _rows_reached(work: Work) -> Sequence[int]:
    """The training rows that the plan's steps learn from."""
    return [pair * ROWS + row for pair in reached(work, len(work.rows["train"])) for row in range(ROWS)]


def pair_batches(work: Work, policy: Policy, split: Split, columns: Mapping[str, np.ndarray]) -> MakeBatches:
    """Packs of whole pairs, whose answers share their prompt where the model can; and the weight of each row."""
    budget, lanes = int(work.plan.forecast["micro_batch_tokens"]), int(work.plan.forecast["lanes"])
    both = pair_weights(work, split) | dict(columns)
    rows = work.rendered[split]
    make = packed(rows, budget, both, policy.pooling == "last", lanes, ROWS, costs_of(work, policy))
    return above_frozen(work, policy, rows, split)(make)


def pair_weights(work: Work, split: Split) -> dict[str, np.ndarray]:
    """`row_weight` of both rows of each pair: the pair's own."""
    return {"row_weight": np.repeat(np.array([pair.weight for pair in work.rows[split]], np.float32), ROWS)}


def pair_lengths(work: Work) -> np.ndarray:
    """The tokens of both rows of each training pair together."""
    return work.rendered["train"].lengths.reshape(-1, ROWS).sum(1)


def on_validation(work: Work, objective: Objective, make: Mapping[Split, MakeBatches]) -> Measure:
    """`loss` and `accuracy` of the objective itself on the validation pairs."""

    def measure(policy: Policy) -> dict[str, float]:
        if "validation" not in make:
            return {}
        batches = make["validation"](range(len(work.rows["validation"])))

        @torch.no_grad()
        def score(batch: Batch) -> Scored:
            return objective.score(policy, batch.to(policy.device))

        with policy.evaluating():
            scored = list(side_by_side(score, batches, lanes_for(policy)))
        loss = sum(float(part.terms["preference"].sum()) for part in scored)
        right = torch.cat([part.metrics["accuracy"] for part in scored])
        units = sum(objective.count(batch)["preference"] for batch in batches)
        return {"loss": loss / units, "accuracy": float(right.float().mean())}

    return measure
