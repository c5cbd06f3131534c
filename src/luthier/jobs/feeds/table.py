"""The feed of every objective, by the name that recipes use."""

from __future__ import annotations

from collections.abc import Callable

from luthier.jobs.feeds.classes import classes
from luthier.jobs.feeds.feed import Feed
from luthier.jobs.feeds.language import language
from luthier.jobs.feeds.preference import preference
from luthier.jobs.feeds.reward import reward
from luthier.jobs.workbench import Work
from luthier.models.policy import Policy

TABLE: dict[str, Callable[[Work, Policy], Feed]] = {
    "sft": language,
    "pretrain": language,
    "classify": classes,
    "dpo": preference,
    "reward": reward,
}
"""objective → (what the run works with, the policy at step 0) → its feed."""
