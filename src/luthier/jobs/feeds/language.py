"""Answers and text: token ids, and what is learnt beside them."""

from __future__ import annotations

import numpy as np

from luthier.data import rehearsal
from luthier.data.rendered import Chosen, Joined, Rendered
from luthier.data.stream import MakeBatches, Rows, packed
from luthier.engine.budget import PASSAGE_TOKENS
from luthier.jobs.feeds.feed import Feed, shuffled
from luthier.jobs.feeds.frozen import above_frozen
from luthier.jobs.operations import costs_of
from luthier.jobs.prepare import renderer_of
from luthier.jobs.rows import Rendering, form_of, render_split
from luthier.jobs.workbench import Work
from luthier.models.policy import Policy
from luthier.models.score import Given, as_they_are, row_nll
from luthier.objectives import TABLE, Objective
from luthier.recipe import rehearsed, replayed


def language(work: Work, policy: Policy) -> Feed:
    """Rows packed by the forecast's budget; validated by the mean negative log-likelihood of a token."""
    rows = learnt_rows(work)
    objective = TABLE[work.recipe.objective.type](work.recipe.objective, work.plan.multi_label)
    return fed(work, policy, packs(work, policy, rows), rows.lengths, objective)


def packs(work: Work, policy: Policy, rows: Rows, name: str = "train") -> MakeBatches:
    """Micro-batches of the forecast's size; `name` says in messages what the rows are."""
    budget, lanes = int(work.plan.forecast["micro_batch_tokens"]), int(work.plan.forecast["lanes"])
    share_prefix = policy.lm_head is not None
    make = packed(rows, budget, share_prefix=share_prefix, lanes=lanes, costs=costs_of(work, policy))
    return above_frozen(work, policy, rows, name)(make)


def fed(work: Work, policy: Policy, make: MakeBatches, lengths: np.ndarray, objective: Objective) -> Feed:
    """Rows of text, of so many tokens each, under `objective`, validated by the likelihood of text."""
    budget, validation = int(work.plan.forecast["micro_batch_tokens"]), work.rendered.get("validation")
    given = as_they_are if validation is None else above_frozen(work, policy, validation, "validation")

    def measure(policy: Policy) -> dict[str, float]:
        return _validation_nll(policy, validation, budget, given) if validation is not None else {}

    return Feed(shuffled(work, make, len(lengths)), objective, measure, lengths=lengths)


def learnt_rows(work: Work) -> Rendered | Joined:
    """The training rows, then what is learnt beside them: rows of earlier data, and general passages."""
    own, replay, passages = work.rendered["train"], replayed_rows(work), rehearsed_passages(work)
    return Joined((own, *replay, *passages)) if replay or passages else own


def replayed_rows(work: Work) -> list[Chosen]:
    """`train.replay` of the number of training rows, from the data that was learnt earlier."""
    count = replayed(work.recipe, len(work.rows["train"]))
    if not count:
        return []
    earlier = work.rendered["earlier"]
    return [Chosen(earlier, in_turn(len(earlier), count, work.recipe.train.seed))]


def in_turn(rows: int, count: int, seed: int) -> np.ndarray:
    """`count` numbers of `rows` rows in a fixed random order, from the start again where there are fewer."""
    return np.resize(np.random.default_rng(seed).permutation(rows), count)


def rehearsed_passages(work: Work) -> list[Rendered]:
    """The general passages that are learnt beside the rows: in a chat, every second one as text."""
    count = rehearsed(work.recipe, len(work.rows["train"]))
    renderer, cache = renderer_of(work.files, work.recipe), work.home.cache("rendered")
    length = min(work.context_length, max(int(work.recipe.train.sequence_len), PASSAGE_TOKENS))
    texts, chats = rehearsal.load(count), rehearsal.load_chats(count)
    if form_of(work.recipe) == "sft":
        texts, chats = texts[::2], chats[1::2]
    else:
        chats = []
    as_text, as_chat = Rendering(length, "right", "all", "pretrain"), Rendering(length, "right", "assistant", "sft")
    parts = [(texts, as_text), (chats, as_chat)]
    return [render_split(renderer, rows, cache, how, work.stages.note) for rows, how in parts if rows]


def _validation_nll(policy: Policy, rows: Rendered, budget: int, given: Given) -> dict[str, float]:
    nll, weight = row_nll(policy, rows, budget, given=given)
    return {"nll": float(nll.sum() / weight.sum())} if weight.sum() else {}
