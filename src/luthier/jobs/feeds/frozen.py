"""Batches that enter a partly frozen trunk at its first trained block, where the plan says so."""

from __future__ import annotations

from luthier.data.stream import Rows
from luthier.jobs.workbench import Work
from luthier.models.entrance import entering, kept_states, open_entrance
from luthier.models.kept_states import STATES, states_key
from luthier.models.policy import Policy
from luthier.models.score import Given, as_they_are


def above_frozen(work: Work, policy: Policy, rows: Rows, name: str) -> Given:
    """What gives batches of `rows` the states before the first trained block, which are computed now where they are
    not on disk; leaves batches as they are where the plan runs all blocks at every step."""
    block = int(work.plan.forecast["frozen_blocks"])
    if not block:
        return as_they_are
    open_entrance(policy, block)
    with work.stages.stage(f"frozen blocks ({name})") as progress:
        read = kept_states(policy, rows, states_key(work.files.weights_key, block), work.home.cache(STATES), progress)
    return lambda make: entering(make, read)
