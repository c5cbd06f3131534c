"""Evaluation as a job: the tuned model and everything it must beat, on the same held-out rows."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from luthier.data.example import Example
from luthier.data.render import Renderer
from luthier.evaluate.answer_space import answer_space
from luthier.evaluate.classic import NotApplicable, classic
from luthier.evaluate.constrain import AllowedTokens
from luthier.evaluate.few_shot import similar
from luthier.evaluate.majority import majority
from luthier.evaluate.scorers import score
from luthier.evaluate.scores import Answer, Scores
from luthier.evaluate.solvers import generate, likelihood, shown_examples
from luthier.jobs.in_service import IN_SERVICE, askable, in_service
from luthier.jobs.prepare import renderer_of
from luthier.jobs.rows import Rendering, form_of, render_split
from luthier.jobs.workbench import Work
from luthier.models.load import load_base
from luthier.recipe import PAIRED

Found = Scores | NotApplicable
LIKELIHOOD = "nll"
FROM_COUNTS = ("classic", "majority")
"""Baselines without a language model."""


def judge(work: Work, prefix: str = "") -> dict[str, Found]:
    """Scores of each baseline the recipe names and of the tuned model; one that does not fit says why.

    They are kept in the run's folder under the solver's name, with `prefix` before it.
    """
    solvers = {name: (lambda name=name: _solve(work, name)) for name in (*work.recipe.evaluate.baselines, "tuned")}
    return {name: _kept(work.folder / "scores" / f"{prefix}{name}.jsonl", solve) for name, solve in solvers.items()}


def _kept(path: Path, solve: Callable[[], Found]) -> Found:
    """Scores that were written before, or those that `solve` finds, written."""
    from luthier.store.files import write_atomic

    if path.exists():
        return Scores.from_jsonl(path.read_text(encoding="utf-8"))
    found = solve()
    if isinstance(found, Scores):
        write_atomic(path, found.to_jsonl())
    return found


def _solve(work: Work, name: str) -> Found:
    tests = test_rows(work)
    with work.stages.stage(f"evaluate ({name})") as progress:
        start = time.perf_counter()
        answers = answers_of(work, name, tests, progress)
        if isinstance(answers, NotApplicable):
            work.stages.note(f"{name}: {answers.reason}")
            return answers
        seconds = time.perf_counter() - start
        return score(work.plan.task, tests, answers, work.recipe.evaluate.metrics, solver=name, seconds=seconds)


def test_rows(work: Work) -> list[Example]:
    """The test split, or `evaluate.max_rows` of it, drawn with the split's seed."""
    import random

    rows, limit = work.rows["test"], work.recipe.evaluate.max_rows
    if limit is None or limit >= len(rows):
        return rows
    drawn = random.Random(work.recipe.splits.seed).sample(range(len(rows)), limit)
    return [rows[i] for i in sorted(drawn)]


def answers_of(
    work: Work, name: str, tests: list[Example], progress: Callable[[int, int], None]
) -> list[Answer] | NotApplicable:
    """What one solver says about the test rows."""
    if name == IN_SERVICE:
        served = in_service(work)
        if isinstance(served, NotApplicable):
            return served
        return answers_of(served, "tuned", askable(served, tests), progress)
    if work.recipe.objective.type in PAIRED:
        from luthier.jobs.judge_pairs import pair_answers

        return pair_answers(work, name, tests, progress)
    if name in FROM_COUNTS and set(work.recipe.evaluate.metrics) == {LIKELIHOOD}:
        return NotApplicable("it has no likelihoods of text")
    if name == "majority":
        return majority(work.rows["train"], tests)
    if name == "classic":
        return classic(work.rows["train"], tests)
    if work.recipe.objective.type == "classify":
        from luthier.jobs.judge_classes import class_answers

        return class_answers(work, name, tests)
    if name == "few_shot" and work.recipe.objective.type == "pretrain":
        return NotApplicable("plain text asks no questions")
    policy = work.tuned() if name == "tuned" else load_base(work.files, work.device)
    shots = (
        similar(work.rows["train"], tests, work.recipe.evaluate.shots) if name == "few_shot" else [[] for _ in tests]
    )
    answers = language_answers(work, partial(generate, policy), partial(likelihood, policy), tests, shots, progress)
    del policy
    gc.collect()
    return answers


def language_answers(
    work: Work, write: Callable[..., list[Answer]], rate: Callable[..., list[Answer]], tests: Sequence[Example],
    shots: Sequence[Sequence[Example]], progress: Callable[[int, int], None],
) -> list[Answer]:  # fmt: skip
    """Text, likelihoods, or both, as the recipe's metrics need; `write` and `rate` are `solvers.generate` and
    `solvers.likelihood` of some model."""
    settings, metrics = work.recipe.evaluate, set(work.recipe.evaluate.metrics)
    renderer = renderer_of(work.files, work.recipe)
    texts: list[Answer] = [Answer() for _ in tests]
    if metrics - {LIKELIHOOD}:
        asked = [
            shown_examples(row, own).question() if own else row.question()
            for row, own in zip(tests, shots, strict=True)
        ]
        texts = write(
            renderer, asked, [row.tools for row in tests], max_new_tokens=int(settings.max_new_tokens),
            context=work.context_length, allowed=_allowed(work, renderer), progress=progress,
        )  # fmt: skip
    if LIKELIHOOD not in metrics:
        return texts
    rows = [shown_examples(row, own) if own else row for row, own in zip(tests, shots, strict=True)]
    train = work.recipe.train
    length = work.context_length if any(shots) else int(train.sequence_len)
    rendering = Rendering(length, "right", "last" if any(shots) else train.train_on, form_of(work.recipe))
    rendered = render_split(renderer, rows, work.home.cache("rendered"), rendering, work.stages.note)
    likely = rate(rendered, int(work.plan.forecast["micro_batch_tokens"]), progress)
    by_row = dict(zip(rendered.row_ids, likely, strict=True))
    found = [by_row.get(row.row_id, Answer()) for row in tests]
    return [Answer(text=text.text, nll=own.nll, tokens=own.tokens) for text, own in zip(texts, found, strict=True)]


def _allowed(work: Work, renderer: Renderer) -> AllowedTokens | None:
    if work.recipe.evaluate.constrain == "none":
        return None
    return AllowedTokens(answer_space(work.rows["train"]), renderer.encode, renderer.eos_ids)


def values(scores: Scores, metrics: Sequence[str], confidence: float) -> dict[str, dict[str, Any]]:
    """`{metric: {value, low, high, n}}` of what the solver was scored on."""
    from dataclasses import asdict

    return {metric: asdict(scores.estimate(metric, confidence)) for metric in metrics if metric in scores.metrics}
