"""What tuning cost: general text and questions, answered by the base and by the tuned model."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from luthier.data.example import Example
from luthier.data.render import Renderer
from luthier.data.rendered import Rendered
from luthier.errors import LuthierError
from luthier.evaluate import retention
from luthier.evaluate.scorers import score
from luthier.evaluate.scores import Answer, Scores
from luthier.jobs.prepare import renderer_of
from luthier.jobs.rows import Rendering, render_split
from luthier.jobs.workbench import Work
from luthier.models.kept import kept
from luthier.models.load import load_base
from luthier.models.score import row_nll
from luthier.recipe import HEADED
from luthier.store.files import write_atomic

SCORED_TOKENS = 4096
"""Tokens of a pack that is only scored, before what its rows share is counted once."""
Rate = Callable[[Rendered, int], np.ndarray]
"""Rows, and the tokens of a pack → the negative log-likelihood of each row's targets in nats, (rows,)."""


def forgetting(work: Work) -> dict[str, Any]:
    """The `forgetting` block of the run document; empty where the recipe asks for none or nothing can be lost."""
    if not work.recipe.evaluate.forgetting or work.recipe.objective.type in HEADED:
        return {}
    margin, confidence = work.recipe.evaluate.forgetting_margin, work.recipe.evaluate.confidence
    return retention.compare(_scores(work, "base"), _scores(work, "tuned"), margin=margin, confidence=confidence)


def _scores(work: Work, name: str) -> dict[str, Scores]:
    paths = {part: work.folder / "scores" / f"retention-{part}-{name}.jsonl" for part in ("questions", "text_nll")}
    if all(path.exists() for path in paths.values()):
        return {part: Scores.from_jsonl(path.read_text(encoding="utf-8")) for part, path in paths.items()}
    with work.stages.stage(f"forgetting ({name})") as progress:
        rate = _by_tuned(work) if name == "tuned" else _by_base(work)
        renderer = renderer_of(work.files, work.recipe)
        questions, texts = retention.load()
        start = time.perf_counter()
        answers = choose(rate, renderer, questions)
        progress(1, 2)
        rendering = Rendering(work.context_length, "right", "all", "pretrain")
        rows = render_split(renderer, texts, work.home.cache("rendered"), rendering, work.stages.note)
        nats = rate(rows, int(work.plan.forecast["micro_batch_tokens"]))
        likely = [
            Answer(nll=float(nll), tokens=int(np.count_nonzero(rows.row(i)[1][1:]))) for i, nll in enumerate(nats)
        ]
        seconds = time.perf_counter() - start
        found = {
            "questions": score("retention", questions, answers, ("exact_match",), solver=name, seconds=seconds),
            "text_nll": score("retention", texts, likely, ("nll",), solver=name, seconds=seconds),
        }
        progress(2, 2)
    for part, scores in found.items():
        write_atomic(paths[part], scores.to_jsonl())
    del rate
    gc.collect()
    return found


def _by_tuned(work: Work) -> Rate:
    policy = work.tuned()
    return lambda rows, budget: row_nll(policy, rows, budget)[0]


def _by_base(work: Work) -> Rate:
    """Kept in the home, and loaded only where it was not asked before: a base says the same in each of its runs."""
    load = cache(lambda: load_base(work.files, work.device))

    def rate(rows: Rendered, budget: int) -> np.ndarray:
        key = f"{work.files.weights_key} nll {budget}"
        return kept(work.home.cache("likelihoods"), key, rows, lambda: row_nll(load(), rows, budget)[0])

    return rate


def choose(rate: Rate, renderer: Renderer, questions: list[Example]) -> list[Answer]:
    """The option of each question that the model finds likeliest.

    What all options of a question begin with cannot decide between them: it is not scored, and computed once.
    """
    options = [(number, str(option)) for number, row in enumerate(questions) for option in row.extra["options"]]
    rows = [_with_answer(questions[number], option) for number, option in options]
    rendered = renderer.rows(rows, sequence_len=None, train_on="last", objective="sft")
    for question in range(len(questions)):
        _score_differences(rendered, [row for row, (own, _) in enumerate(options) if own == question])
    nll = rate(rendered, SCORED_TOKENS)
    best: dict[int, tuple[float, str]] = {}
    for (number, option), own in zip(options, nll, strict=True):
        best[number] = min(best.get(number, (math.inf, "")), (float(own), option))
    return [Answer(text=best[number][1]) for number in range(len(questions))]


def _score_differences(rendered: Rendered, rows: list[int]) -> None:
    """Take the weight from the tokens that all of these rows begin with."""
    shortest = min(int(rendered.lengths[row]) for row in rows)
    first = np.stack([rendered.row(row)[0][:shortest] for row in rows])
    differs = np.flatnonzero((first != first[0]).any(0))
    for row in rows:
        rendered.row(row)[1][: differs[0] if len(differs) else shortest] = 0


def _with_answer(question: Example, option: str) -> Example:
    asked = question.question()
    turns = asked if isinstance(asked, list) else [{"role": "user", "content": asked}]
    if not turns:
        raise LuthierError("a retention question has no text", question.row_id)
    return replace(question, messages=(*turns, {"role": "assistant", "content": option}), prompt=None, completion=None,
                   row_id=f"{question.row_id}:{option}")  # fmt: skip
