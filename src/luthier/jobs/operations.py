"""What the parts of a batch cost a model, counted in multiplications."""

from __future__ import annotations

from dataclasses import dataclass

from luthier.data.batch import Batch
from luthier.data.stream import Costs
from luthier.jobs.prepare import model_facts
from luthier.jobs.workbench import Work
from luthier.models.policy import Policy
from luthier.recipe import HEADED


@dataclass(frozen=True)
class Operations:
    """The multiplications of a batch: of its tokens with the trunk's weights, of its targets with the output layer's,
    and of its tokens with each other."""

    trunk: float
    head: float
    attention: float

    def __call__(self, batch: Batch) -> float:
        """Of one forward pass. A batch without tokens has its rows for them."""
        tokens = len(batch.ids_T) or batch.rows
        squares = float((batch.lengths_R.double() ** 2).sum()) if len(batch.ids_T) else 0.0
        return self.trunk * tokens + self.head * len(batch.target_N) + self.attention * squares


def operations_of(work: Work, policy: Policy) -> Operations:
    """What a token, a target and a pair of tokens of one row cost this model."""
    facts = model_facts(work.files, work.recipe)
    table = facts.vocab_size * facts.hidden_size
    causal = 1 if policy.pooling == "last" else 2
    head = 0 if work.recipe.objective.type in HEADED else table
    trunk = above_frozen(work) * (facts.num_parameters - table)
    return Operations(trunk, head, causal * facts.num_layers * facts.hidden_size)


def costs_of(work: Work, policy: Policy) -> Costs:
    """The same in tokens, for what is made into micro-batches."""
    found = operations_of(work, policy)
    return Costs(found.head / found.trunk, found.attention / found.trunk)


def above_frozen(work: Work) -> float:
    """The share of the blocks that run in a step; the output of those below is computed once."""
    blocks = int(work.plan.forecast["frozen_blocks"])
    return 1 - blocks / model_facts(work.files, work.recipe).num_layers
