"""Answers that the policy samples itself, and what they earn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from luthier.data.example import Example
from luthier.data.render import Renderer
from luthier.data.stream import Stream
from luthier.engine.rollouts import Rollouts
from luthier.errors import DataError
from luthier.evaluate.solvers import fitting_prompt
from luthier.jobs.feeds.feed import Feed
from luthier.jobs.prepare import renderer_of
from luthier.jobs.rewards import Reward, reward_of, source_sha256
from luthier.jobs.workbench import Work
from luthier.models.policy import Policy
from luthier.models.sample import sample
from luthier.objectives import TABLE
from luthier.recipe import total_steps


def rollouts(work: Work, policy: Policy) -> Feed:
    """Prompts in shuffled order; validated by what greedy answers earn. PPO's value head starts at zero."""
    settings, rows = work.recipe.objective, work.rows["train"]
    renderer, reward = renderer_of(work.files, work.recipe), reward_of(settings.reward)
    if settings.type == "ppo":
        policy.value_head = value_head(policy)
    source = Rollouts(
        policy, order(work), prompts(work, renderer, "train"), [row.weight for row in rows],
        lambda number, ids: reward(renderer.decode(ids), rows[number]), settings,
        int(work.recipe.evaluate.max_new_tokens), renderer.eos_ids,
        int(work.plan.forecast["micro_batch_tokens"]), int(work.plan.forecast["lanes"]),
    )  # fmt: skip
    asked = prompts(work, renderer, "validation")
    objective = TABLE[settings.type](settings, work.plan.multi_label)
    longest = np.array([len(ids) + source.max_new_tokens for ids in source.prompts])
    return Feed(
        source, objective, lambda p: _measured(work, p, renderer, reward, asked), learns_rows=False, lengths=longest
    )


def value_head(policy: Policy) -> nn.Linear:
    """A linear layer on the hidden state, zero at the start."""
    assert policy.lm_head is not None, "answers are sampled from decoders only"
    head = nn.Linear(policy.lm_head.in_features, 1).to(policy.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def order(work: Work) -> Stream:
    """Which prompts each rollout has: as rows are taken for a step, shuffled anew each epoch.

    A checkpoint made with another file of rewards is refused as one made with other data is.
    """
    train, count = work.recipe.train, len(work.rows["train"])
    size = int(train.batch_size)
    rounds = -(-total_steps(work.recipe, count) // work.recipe.objective.num_iterations)
    total = min(rounds * size, round(count * float(train.num_epochs)))
    data = f"{work.plan.dataset_version} {source_sha256(work.recipe.objective.reward)}"
    return Stream(lambda numbers: [], count, size, total, train.seed, data)


def prompts(work: Work, renderer: Renderer, split: str) -> list[list[int]]:
    """The ids of each question of a split, with room for an answer. Raises DataError where one leaves none."""
    room = work.files.context_length - int(work.recipe.evaluate.max_new_tokens)
    rows: Sequence[Example] = work.rows.get(split, [])
    found = [fitting_prompt(renderer, row.question(), row.tools, room) for row in rows]
    for row, ids in zip(rows, found, strict=True):
        if len(ids) > room:
            raise DataError(f"the question has {len(ids)} tokens, which leaves no room for an answer", row.row_id,
                            "Shorten it, or lower `evaluate.max_new_tokens`")  # fmt: skip
    return found


def _measured(
    work: Work, policy: Policy, renderer: Renderer, reward: Reward, asked: list[list[int]]
) -> dict[str, float]:
    longest = int(work.recipe.evaluate.max_new_tokens)
    answers = sample(policy, asked, max_new_tokens=longest, stop_ids=renderer.eos_ids)
    pairs = zip(answers, work.rows["validation"], strict=True)
    earned = [reward(renderer.decode(ids), row) for ids, row in pairs]
    return {"reward": float(np.mean(earned))} if earned else {}
