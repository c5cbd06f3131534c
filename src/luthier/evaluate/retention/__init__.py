"""What a base model could do before it was tuned: questions and general text, written for this package.

`questions.jsonl` holds 240 short questions with 2–4 answers to choose from, of which a small chat model knows most
(SmolLM2-135M-Instruct: 212). `text.jsonl` holds 60 passages of general English and code. Neither is training data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

from luthier.data.example import Example
from luthier.evaluate.paired import compare as compare_pairs
from luthier.evaluate.scores import Scores

QUESTIONS, TEXT = "questions", "text_nll"


def load() -> tuple[list[Example], list[Example]]:
    """The questions (prompt, completion, `extra["options"]`) and the texts.

    The option with the largest sum of log-probabilities as the assistant's turn, the token that ends it included, is
    the model's answer, scored by `exact_match`. Texts are scored by `nll`.
    """
    questions = [
        Example(row_id, prompt=row["question"], completion=row["answer"], extra=_kept(row, "kind", "options"))
        for row_id, row in _rows("questions.jsonl")
    ]
    texts = [Example(row_id, text=row["text"], extra=_kept(row, "kind")) for row_id, row in _rows("text.jsonl")]
    return questions, texts


def compare(
    base: Mapping[str, Scores], tuned: Mapping[str, Scores], *, margin: float, confidence: float = 0.95
) -> dict[str, dict[str, float]]:
    """What was lost, of what both have among `questions` and `text_nll`: the run document's `forgetting` block.

    All changes are tuned minus base: below 0 is a loss of `questions` (the share answered), above 0 a loss of
    `text_nll` (nats per token; exp(delta) - 1 is the relative rise of perplexity).
    """
    kinds = ((QUESTIONS, "exact_match", 1.0), (TEXT, "nll", -1.0))
    return {
        name: _entry(base[name], tuned[name], metric, sign, confidence) | {"margin": margin}
        for name, metric, sign in kinds
        if name in base and name in tuned
    }


def _entry(base: Scores, tuned: Scores, metric: str, sign: float, confidence: float) -> dict[str, float]:
    better = compare_pairs(tuned, base, metric, confidence)
    low, high = sorted((sign * better.low, sign * better.high))
    values = {name: scores.estimate(metric).value for name, scores in (("base", base), ("tuned", tuned))}
    return {**values, "delta": sign * better.value, "low": low, "high": high, "n": better.n}


def _rows(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    lines = files(__name__).joinpath(name).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        yield f"{name}:{number}", json.loads(line)


def _kept(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: row[name] for name in names}
