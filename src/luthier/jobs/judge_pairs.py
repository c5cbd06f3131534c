"""Answers to preference pairs: which of the two a model, a reward, a length or words prefer."""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
from torch import Tensor

from luthier.data.batch import Batch
from luthier.data.example import Example
from luthier.data.rendered import Rendered
from luthier.evaluate.classic import NotApplicable
from luthier.evaluate.preferences import by_length, by_words, prefer
from luthier.evaluate.scores import Answer
from luthier.jobs.prepare import renderer_of
from luthier.jobs.rows import Rendering, form_of, render_split
from luthier.jobs.workbench import Work
from luthier.models.load import load_base
from luthier.models.policy import Policy
from luthier.models.score import over_rows, row_nll

Progress = Callable[[int, int], None]


def pair_answers(work: Work, name: str, tests: list[Example], progress: Progress) -> list[Answer] | NotApplicable:
    """What one solver says about pairs; the rows that it does not see are left out of its scores.

    `base`, and the tuned model of `dpo`, prefer the answer with the higher log-probability per token; the tuned
    model of `reward` the one with the higher reward; `majority` goes by length, `classic` by words.
    """
    if name == "few_shot":
        return NotApplicable("an example in a prompt shows one answer, not which of two is better")
    if name in ("majority", "classic"):
        if work.recipe.objective.type == "dpo":
            return NotApplicable("it can rank answers, but writes none")
        return (by_length if name == "majority" else by_words)(work.rows["train"], tests)
    if name == "base" and work.files.kind == "encoder":
        return NotApplicable("an encoder has no likelihoods of text")
    train = work.recipe.train
    settings = Rendering(int(train.sequence_len), "right", train.train_on, form_of(work.recipe))
    rows = render_split(renderer_of(work.files, work.recipe), tests, work.home.cache("rendered"), settings,
                        work.stages.note)  # fmt: skip
    policy = work.tuned() if name == "tuned" else load_base(work.files, work.device)
    rate = rewards if policy.head is not None else mean_logprobs
    found = rate(policy, rows, int(work.plan.forecast["micro_batch_tokens"]), progress).reshape(-1, 2)
    del policy
    gc.collect()
    seen = [tests[i] for i in rows.examples]
    answered = dict(zip(rows.examples, prefer(seen, found), strict=True))
    return [answered.get(number, Answer()) for number in range(len(tests))]


def mean_logprobs(policy: Policy, rows: Rendered, budget: int, progress: Progress) -> np.ndarray:
    """The log-probability of each answer per token, (rows,), as Meng et al. 2024, arXiv:2405.14734, rank answers:
    their sum would prefer the shorter one."""
    nll, weight = row_nll(policy, rows, budget, progress=progress)
    return -nll / weight


def rewards(policy: Policy, rows: Rendered, budget: int, progress: Progress) -> np.ndarray:
    """The reward of each row, (rows,)."""

    def score(batch: Batch) -> Tensor:
        return policy.class_logits(batch)[:, 0]

    return over_rows(policy, rows, budget, score, progress=progress)
