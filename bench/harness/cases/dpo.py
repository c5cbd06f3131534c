"""Preference pairs: DPO with LoRA on SmolLM2-135M, pairs of hh-rlhf."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.case import Case, Inputs, Side, Task
from harness.cases.recipe import home, model, write_recipe
from harness.cases.sft import LORA, MODEL
from harness.count import amount
from harness.rows import Row, digest, first_predicted, stratified
from luthier.data.pairs import as_rows, rejoin
from luthier.data.render import Renderer
from luthier.data.sources import read
from luthier.recipe import DataEntry

BATCH, LENGTH, WARM, POOL, BETA = 8, 1024, 1, 64, 0.1
ENTRY = {"type": "preference"}
RECIPE: dict[str, Any] = {
    "base_model": MODEL, "objective": {"type": "dpo", "beta": BETA}, "adapter": LORA,
    "splits": {"validation": 0, "test": 0}, "ship": {"require": "nothing"},
    "train": {"num_epochs": 1, "batch_size": BATCH, "learning_rate": 5e-5, "warmup_ratio": 0.0,
              "sequence_len": LENGTH, "truncation": "drop", "rehearsal": 0},
}  # fmt: skip


def pairs(data: Path, folder: Path) -> list[Row]:
    """The pairs with two answers of one stretch each, as the ids of both rows."""
    path = data / "hh_rlhf_harmless" / "test_sample.jsonl"
    raw = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    examples = read(DataEntry(path=str(path.resolve()), **ENTRY), Path.cwd()).examples
    whole = [i for i, pair in enumerate(examples) if str(pair.answer()).strip()]
    kept = [examples[i] for i in whole]
    rows = Renderer.from_folder(folder).rows(
        [row for pair in kept for row in as_rows(pair)], sequence_len=LENGTH, truncation="drop"
    )
    both = rejoin(rows, kept)
    found: dict[tuple[int, ...], Row] = {}
    for place in range(0, len(both), 2):
        chosen, rejected = (
            ({}, ids.tolist(), (weights > 0).astype(int).tolist()) for ids, weights in map(both.row, (place, place + 1))
        )
        pair = Row(raw[whole[both.kept[place]]], *chosen[1:], Row(*rejected))
        found.setdefault((*pair.ids, -1, *rejected[1]), pair)
    return [pair for pair in found.values() if all(answer_in_one(row) for row in pair.alone())]


def answer_in_one(row: Row) -> bool:
    """Whether what counts is one stretch of tokens, as a peer's prompt and answer are."""
    first = first_predicted(row)
    return 0 < sum(row.mask) == sum(row.mask[first : first + sum(row.mask)])


def prepare(inputs: Inputs) -> Callable[[Side], Task]:
    """The pairs once; then each side's own share of them."""
    files, weights = model(MODEL, inputs.cache)
    pool = stratified(pairs(inputs.data, files.folder), POOL)
    warm = stratified(pool, WARM)

    def task(side: Side) -> Task:
        rows = stratified(pool, side.rows)
        job = {"model": str(files.folder), "threads": inputs.threads, "scratch": str(inputs.scratch)}
        if side.environment == "luthier":
            job |= {"home": str(home(inputs)), "warm": write_recipe(inputs, "warm", RECIPE, warm, ENTRY),
                    "recipe": write_recipe(inputs, "timed", RECIPE, rows, ENTRY)}  # fmt: skip
        else:
            job |= {"length": LENGTH, "beta": BETA, "adapter": LORA,
                    "warm": [[row.job() for row in pair.alone()] for pair in warm],
                    "rows": [[row.job() for row in pair.alone()] for pair in rows]}  # fmt: skip
        seen = digest((row.ids, row.mask) for pair in rows for row in pair.alone())
        return Task(job, amount(rows, weights, "adapter", reference=True), seen)

    return task


def parity(inputs: Inputs) -> dict[str, Any]:
    """Two pairs for one gradient of each side."""
    files, _ = model(MODEL, inputs.cache)
    chosen = stratified(stratified(pairs(inputs.data, files.folder), POOL), 2)
    return {"objective": "dpo", "beta": BETA, "home": str(home(inputs)), "scratch": str(inputs.scratch),
            "threads": inputs.threads, "recipe": write_recipe(inputs, "parity", RECIPE, chosen, ENTRY)}  # fmt: skip


def trl(name: str, rows: int, batch: int, **settings: Any) -> Side:
    """TRL's DPOTrainer with `batch` pairs at a time, eight an optimizer step."""
    own = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": BATCH // batch}
    return Side(f"TRL, {name}", "trl_dpo.py", rows, own | settings)


CASES = (
    Case("dpo", "DPO with LoRA: SmolLM2-135M on pairs of hh-rlhf", "pairs", (
        Side("Luthier", "luthier_fit.py", 16, environment="luthier"),
        trl("its defaults", 8, 8),
        trl("1 pair at a time, no checkpointing", 4, 1, gradient_checkpointing=False),
        trl("2 pairs at a time, no checkpointing", 4, 2, gradient_checkpointing=False),
        trl("4 pairs at a time", 4, 4),
        trl("1 pair, no checkpointing, reference first", 4, 1, gradient_checkpointing=False,
            precompute_ref_log_probs=True),
    ), prepare, parity, "The log-probabilities of the policy at step 0 are in the seconds of all sides."),
)  # fmt: skip
