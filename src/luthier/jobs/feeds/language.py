"""Answers and text: token ids, and the general passages that are learnt beside them."""

from __future__ import annotations

from luthier.data import rehearsal
from luthier.data.rendered import Joined, Rendered
from luthier.data.stream import packed
from luthier.jobs.feeds.feed import Feed, shuffled
from luthier.jobs.prepare import renderer_of
from luthier.jobs.rows import Rendering, render_split
from luthier.jobs.workbench import Work
from luthier.models.policy import Policy
from luthier.models.score import row_nll
from luthier.objectives import TABLE
from luthier.recipe import rehearsed

PASSAGE_TOKENS = 256
"""General passages are not cut below this, however short the rows are."""


def language(work: Work, policy: Policy) -> Feed:
    """Rows packed by the forecast's budget; validated by the mean negative log-likelihood of a token."""
    budget, lanes = int(work.plan.forecast["micro_batch_tokens"]), int(work.plan.forecast["lanes"])
    rows, validation = with_rehearsal(work), work.rendered.get("validation")
    make = packed(rows, budget, share_prefix=policy.lm_head is not None, lanes=lanes)
    return Feed(
        shuffled(work, make, len(rows)),
        TABLE[work.recipe.objective.type](work.recipe.objective, work.plan.multi_label),
        lambda p: _validation_nll(p, validation, budget) if validation is not None else {},
    )


def with_rehearsal(work: Work) -> Rendered | Joined:
    """The training rows, then the general passages that are learnt beside them: in a chat, every second one as text."""
    own, count = work.rendered["train"], rehearsed(work.recipe, len(work.rows["train"]))
    if not count:
        return own
    renderer, cache = renderer_of(work.files, work.recipe), work.home.cache("rendered")
    length = min(work.context_length, max(int(work.recipe.train.sequence_len), PASSAGE_TOKENS))
    texts, chats = rehearsal.load(count), rehearsal.load_chats(count)
    if work.recipe.objective.type == "sft":
        texts, chats = texts[::2], chats[1::2]
    else:
        chats = []
    as_text, as_chat = Rendering(length, "right", "all", "pretrain"), Rendering(length, "right", "assistant", "sft")
    parts = [(texts, as_text), (chats, as_chat)]
    return Joined((own, *(render_split(renderer, rows, cache, how, work.stages.note) for rows, how in parts if rows)))


def _validation_nll(policy: Policy, rows: Rendered, budget: int) -> dict[str, float]:
    nll, weight = row_nll(policy, rows, budget)
    return {"nll": float(nll.sum() / weight.sum())} if weight.sum() else {}
