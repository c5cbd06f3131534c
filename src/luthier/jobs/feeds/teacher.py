"""Answers, and what a teacher says about them: live, or once and from disk ever after."""

from __future__ import annotations

from functools import partial

import numpy as np

from luthier.data.rendered import Chosen
from luthier.data.stream import with_targets
from luthier.jobs.feeds.feed import Feed, reached
from luthier.jobs.feeds.language import fed, learnt_rows, packs
from luthier.jobs.workbench import Work
from luthier.models.load import load_base
from luthier.models.locate import locate
from luthier.models.policy import Policy
from luthier.models.teacher import Likeliest, taught
from luthier.objectives import TABLE


def imitation(work: Work, policy: Policy) -> Feed:
    """The feed of answers with a teacher, or, with `objective.top_k`, with its likeliest tokens in the batches."""
    settings, rows, build = work.recipe.objective, learnt_rows(work), TABLE["distill"]
    files = locate(str(settings.teacher), work.home.cache("models"), work.stages.note, precision=work.files.precision)
    load = partial(load_base, files, work.device)
    vocabulary = min(int(config["vocab_size"]) for config in (files.config, work.files.config))
    make = packs(work, policy, rows)
    if settings.top_k is None:
        with work.stages.stage("load the teacher"):
            return fed(work, policy, make, rows.lengths, build(settings, False, teacher=load(), vocabulary=vocabulary))
    how, numbers = Likeliest(settings.top_k, settings.temperature, vocabulary), reached(work, len(rows))
    asked = Chosen(rows, np.array(numbers))
    with work.stages.stage("ask the teacher") as progress:
        budget = int(work.plan.forecast["micro_batch_tokens"])
        said = taught(load, asked, how, files.weights_key, work.home.cache("teachers"), budget, progress)
    told = with_targets(make, rows, said, numbers)
    return fed(work, policy, told, rows.lengths, build(settings, False, vocabulary=vocabulary))
