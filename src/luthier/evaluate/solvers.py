"""Who answers: a model asked plainly or with examples, its likelihoods, its head, or its sense of similarity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from luthier.data.example import Example
from luthier.data.render import Renderer
from luthier.data.rendered import Rendered
from luthier.data.stream import MakeBatches
from luthier.evaluate.constrain import AllowedTokens
from luthier.evaluate.few_shot import with_shots
from luthier.evaluate.scores import Answer
from luthier.models.policy import Policy
from luthier.models.sample import sample
from luthier.models.score import row_nll

BLOCK_ROWS = 256
Progress = Callable[[int, int], None]


def generate(
    policy: Policy, renderer: Renderer, questions: Sequence[Any], tools: Sequence[Any], *, max_new_tokens: int,
    context: int, allowed: AllowedTokens | None = None, progress: Progress = lambda done, total: None,
) -> list[Answer]:  # fmt: skip
    """Greedy answers to conversations (lists of messages, or one user's text).

    A prompt that leaves no room for an answer in the model's `context` loses its oldest turns after the system
    message, two at a time.
    """
    prompts = [
        fitting_prompt(renderer, question, own, context - max_new_tokens)
        for question, own in zip(questions, tools, strict=True)
    ]
    restrict = None if allowed is None else lambda number, ids: allowed.allowed(ids)
    ids = sample(
        policy, prompts, max_new_tokens=max_new_tokens, stop_ids=renderer.eos_ids, allowed=restrict, progress=progress
    )
    return [Answer(text=renderer.decode(own)) for own in ids]


def fitting_prompt(renderer: Renderer, question: Any, tools: Any, room: int) -> list[int]:
    """The ids of a prompt of at most `room` tokens, with the latest turns that fit."""
    turns = question if isinstance(question, list) else [{"role": "user", "content": question}]
    kept = 1 if turns and turns[0].get("role") == "system" else 0
    ids = renderer.prompt(turns, tools)
    while len(ids) > room and len(turns) - kept > 2:
        turns = [*turns[:kept], *turns[kept + 2 :]]
        ids = renderer.prompt(turns, tools)
    return ids


def shown_examples(example: Example, shots: Sequence[Example]) -> Example:
    """The example with `shots` as earlier turns, and its own answer as the last turn."""
    asked = with_shots(example, shots)
    return Example(row_id=example.row_id, messages=(*asked, {"role": "assistant", "content": example.answer()}),
                   tools=example.tools, group=example.group, weight=example.weight)  # fmt: skip


def likelihood(
    policy: Policy, rows: Rendered, budget: int, progress: Progress = lambda done, total: None
) -> list[Answer]:
    """How likely the reference answers are: nats and tokens of each row."""
    nll, weight = row_nll(policy, rows, budget, progress=progress)
    return [Answer(nll=float(n), tokens=round(float(w))) for n, w in zip(nll, weight, strict=True)]


def by_head(policy: Policy, make: MakeBatches, count: int, multi_label: bool) -> list[Answer]:
    """The classification head's decision for each row."""
    decided: list[Any] = []
    with policy.evaluating():
        for batch in make(range(count)):
            logits = policy.class_logits(batch.to(policy.device)).cpu()
            decided += policy.head.decide(logits)  # type: ignore[union-attr, operator]
    return [Answer(labels=label) if multi_label else Answer(label=label) for label in decided]


def by_label_name(rows_RH: np.ndarray, names_CH: np.ndarray, labels: Sequence[str]) -> list[Answer]:
    """Without any training: the label whose name lies nearest to the row (cosine of pooled hidden states)."""
    nearest = (_unit(rows_RH) @ _unit(names_CH).T).argmax(1)
    return [Answer(label=labels[i]) for i in nearest]


def by_neighbours(rows_RH: np.ndarray, known_KH: np.ndarray, known_labels: Sequence[str], shots: int) -> list[Answer]:
    """The most frequent label of the `shots` nearest training rows; of equally frequent ones the nearest's."""
    known, rows = _unit(known_KH), _unit(rows_RH)
    answers = []
    for start in range(0, len(rows), BLOCK_ROWS):
        nearest = np.argsort(-(rows[start : start + BLOCK_ROWS] @ known.T), axis=1, kind="stable")[:, :shots]
        answers += [Counter(known_labels[i] for i in own).most_common(1)[0][0] for own in nearest]
    return [Answer(label=label) for label in answers]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
