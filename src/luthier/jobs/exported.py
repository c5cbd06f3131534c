"""What an export is worth: its answers on test rows beside those of the model that it was made from."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from luthier.data.render import Renderer
from luthier.data.rendered import Rendered
from luthier.errors import ModelError
from luthier.evaluate import solvers
from luthier.evaluate.classic import NotApplicable
from luthier.evaluate.constrain import AllowedTokens
from luthier.evaluate.paired import compare
from luthier.evaluate.scorers import score
from luthier.evaluate.scores import Answer, Scores
from luthier.jobs.judge import answers_of, language_answers, test_rows, values
from luthier.jobs.workbench import Work
from luthier.models.export.formats import ADAPTER, MODEL
from luthier.models.load import load_base, load_policy
from luthier.models.locate import locate
from luthier.models.policy import Policy
from luthier.models.sample import sample
from luthier.recipe.types import Ship
from luthier.registry.gate import decide
from luthier.serve.engines.asking import all_answers, forced, restricted
from luthier.serve.engines.engine import Ask, Engine
from luthier.serve.engines.llama_cpp import LlamaEngine
from luthier.store.files import write_atomic

BEFORE = "the model before it"
SPEED_TOKENS = 64
"""New tokens of the one answer by which the speed is measured."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Speaker:
    """Some model, whatever runs it: what answers and rates rows as `solvers.generate` and `solvers.likelihood` do, and
    what continues a prompt by `SPEED_TOKENS` tokens."""

    write: Callable[..., list[Answer]]
    rate: Callable[..., list[Answer]]
    go_on: Callable[[Sequence[int]], Any]


def measure(work: Work, folder: Path, before: Scores, margin: float) -> dict[str, Any]:
    """Speed, scores with intervals, and the paired difference to the model before, with the gate's verdict."""
    tests, metrics = test_rows(work), work.recipe.evaluate.metrics
    with speaking(work, folder) as speaker:
        with work.stages.stage(f"evaluate ({folder.name})") as progress:
            answers = language_answers(work, speaker.write, speaker.rate, tests, [[] for _ in tests], progress)
        speed = _speed(work, speaker)
    found = score(work.plan.task, tests, answers, metrics, solver=folder.name)
    level, metric = work.recipe.evaluate.confidence, metrics[0]
    delta = asdict(compare(found, before, metric, level))
    verdict = decide(metric=metric, deltas={BEFORE: {metric: delta}}, forgetting={},
                     ship=Ship(require="not_worse", margin=margin), confidence=level, whom="the export")  # fmt: skip
    return {"metric": metric, "confidence": level, "margin": margin, "scores": values(found, metrics, level),
            "before": values(before, metrics, level), "delta": delta, "verdict": verdict.verdict,
            "reason": verdict.reasons[0], "tokens_per_second": speed}  # fmt: skip


def scores_before(work: Work, is_tuned: bool, kept: Path | None) -> Scores:
    """Those of the model that is exported; `kept` is where its run has written them."""
    if kept is not None and kept.exists():
        return Scores.from_jsonl(kept.read_text(encoding="utf-8"))
    tests = test_rows(work)
    with work.stages.stage("evaluate (before the export)") as progress:
        answers = answers_of(work, "tuned" if is_tuned else "base", tests, progress)
    if isinstance(answers, NotApplicable):
        raise ModelError(f"the model cannot answer these rows: {answers.reason}", work.files.name)
    found = score(work.plan.task, tests, answers, work.recipe.evaluate.metrics, solver="before")
    if kept is not None:
        write_atomic(kept, found.to_jsonl())
    return found


@contextmanager
def speaking(work: Work, folder: Path) -> Iterator[Speaker]:
    """What lies in the folder of an export: GGUF files, a whole model, or an adapter."""
    if (folder / MODEL).exists():
        adapters = {"own": folder / ADAPTER} if (folder / ADAPTER).exists() else {}
        engine = LlamaEngine(folder / MODEL, work.files.folder, adapters)
        try:
            yield by_engine(engine, next(iter(adapters), None))
        finally:
            engine.close()
    else:
        whole = (folder / "config.json").exists() and not (folder / "luthier.json").exists()
        policy = load_base(locate(str(folder), work.home.cache("models"))) if whole else load_policy(work.files, folder)
        yield by_policy(policy)
        del policy
        gc.collect()


def by_policy(policy: Policy) -> Speaker:
    """A model that torch runs."""

    def go_on(prompt: Sequence[int]) -> None:
        sample(policy, [prompt], max_new_tokens=SPEED_TOKENS, stop_ids=())

    return Speaker(partial(solvers.generate, policy), partial(solvers.likelihood, policy), go_on)


def by_engine(engine: Engine, adapter: str | None) -> Speaker:
    """A model behind the seam of engines."""

    def go_on(prompt: Sequence[int]) -> None:
        all_answers(engine, [Ask("", prompt, SPEED_TOKENS, adapter, temperature=0.0)])

    return Speaker(partial(_written, engine, adapter), partial(_rated, engine, adapter), go_on)


def _written(
    engine: Engine, adapter: str | None, renderer: Renderer, questions: Sequence[Any], tools: Sequence[Any], *,
    max_new_tokens: int, context: int, allowed: AllowedTokens | None, progress: Progress,
) -> list[Answer]:  # fmt: skip
    """As `solvers.generate`."""
    room = context - max_new_tokens
    prompts = [solvers.fitting_prompt(renderer, *asked, room) for asked in zip(questions, tools, strict=True)]
    stops = renderer.eos_ids
    if allowed is None:
        asks = [Ask("", prompt, max_new_tokens, adapter, temperature=0.0, stop_ids=stops) for prompt in prompts]
        written = [[token.id for token in tokens] for tokens in all_answers(engine, asks, progress)]
    else:
        written = []
        for done, prompt in enumerate(prompts, 1):
            written.append(restricted(engine, prompt, allowed.allowed, max_new_tokens, stops, adapter))
            progress(done, len(prompts))
    return [Answer(text=renderer.decode(ids)) for ids in written]


def _rated(engine: Engine, adapter: str | None, rows: Rendered, budget: int, progress: Progress) -> list[Answer]:
    """As `solvers.likelihood`; targets weigh what they weigh there."""
    marked = [(ids.tolist(), np.flatnonzero(weights).tolist()) for ids, weights in map(rows.row, range(len(rows)))]
    found = forced(engine, marked, adapter, progress)
    answers = []
    for number, thoughts in enumerate(found):
        weights = rows.row(number)[1][marked[number][1]]
        nll = -sum(float(weight) * logprob for weight, (_, logprob) in zip(weights, thoughts, strict=True))
        answers.append(Answer(nll=nll, tokens=round(float(weights.sum()))))
    return answers


def _speed(work: Work, speaker: Speaker) -> float:
    """Tokens a second of one answer, its prompt read before."""
    prompt = work.rendered["test"].row(0)[0].tolist()[:64]
    speaker.go_on(prompt)
    start = time.perf_counter()
    speaker.go_on(prompt)
    return SPEED_TOKENS / (time.perf_counter() - start)
