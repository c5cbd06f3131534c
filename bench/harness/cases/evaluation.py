"""What an evaluation does with a language model: greedy answers, and the likelihood of reference answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from harness.case import Case, Inputs, Side, Task
from harness.cases.recipe import model
from harness.cases.sft import LENGTH, MODEL, POOL, dolly
from harness.count import Amount, amount
from harness.rows import Row, digest, first_predicted, stratified

NEW_TOKENS, WARM = 64, 4
Doing = Literal["generate", "likelihood"]


def prepare(inputs: Inputs, doing: Doing) -> Callable[[Side], Task]:
    """The same rows for each side; of a prompt, what stands before the answer."""
    files, weights = model(MODEL, inputs.cache)
    rows = dolly(inputs.data, files.folder)
    pool = stratified([row for row in rows if len(row.ids) + NEW_TOKENS <= LENGTH], POOL)
    warm = stratified(pool, WARM)

    def plain(chosen: list[Row]) -> list[dict[str, Any]]:
        return [row.job() | {"prompt": row.ids[: first_predicted(row)]} for row in chosen]

    def task(side: Side) -> Task:
        chosen = stratified(pool, side.rows)
        job = {"model": str(files.folder), "name": MODEL, "cache": str(inputs.cache), "threads": inputs.threads,
               "doing": doing, "max_new_tokens": NEW_TOKENS, "warm": plain(warm), "rows": plain(chosen)}  # fmt: skip
        if doing == "likelihood":
            return Task(job, amount(chosen, weights, "nothing"), digest((row.ids, row.mask) for row in chosen))
        prompts = sum(first_predicted(row) for row in chosen)
        return Task(job, Amount(len(chosen), prompts, 0, 0.0), digest((p["prompt"], []) for p in job["rows"]))

    return task


def ours(rows: int) -> Side:
    """Luthier's own solver."""
    return Side("Luthier", "luthier_score.py", rows, environment="luthier")


def plain(rows: int, batch: int) -> Side:
    """transformers in padded batches of like length."""
    return Side(f"transformers, batches of {batch}", "hf_score.py", rows, {"batch": batch})


CASES = (
    Case("generate", f"Evaluation: greedy answers of {NEW_TOKENS} tokens, SmolLM2-135M on questions of dolly", "items",
         (ours(32), plain(32, 1), plain(32, 8), plain(32, 32)), partial(prepare, doing="generate"),
         remark="Prompts of like length are decoded together on all sides."),
    Case("likelihood", "Evaluation: likelihood of reference answers, SmolLM2-135M on rows of dolly", "tokens",
         (ours(64), plain(64, 1), plain(64, 8)), partial(prepare, doing="likelihood"),
         remark="The plain sides compute all logits, as the model's forward pass does."),
)  # fmt: skip
