"""Classification by an encoder on banking77: the trunk frozen, and all weights trained."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness.case import Case, Inputs, Side, Task
from harness.cases.recipe import home, model, write_recipe
from harness.count import Trained, amount
from harness.rows import Row, digest, stratified
from luthier.data.example import Example
from luthier.data.render import Renderer

MODEL, BATCH, LENGTH, WARM = "all-minilm-l6-v2", 32, 512, 64
TRAIN = Path("banking77") / "train.csv"
ENTRY = {"type": "classification", "field_text": "text", "field_label": "category"}
RECIPE: dict[str, Any] = {
    "base_model": MODEL, "objective": "classify", "splits": {"validation": 0, "test": 0},
    "ship": {"require": "nothing"}, "curate": {"deduplicate": False},
}  # fmt: skip
TRAINED = {"train": {"num_epochs": 1, "batch_size": BATCH, "learning_rate": 2e-4}}


def rows_of(path: Path, folder: Path) -> list[Row]:
    """The rows of a table with `text` and `category` as the tokenizer's ids."""
    with path.open(newline="", encoding="utf-8") as file:
        raw = list(csv.DictReader(file))
    examples = [Example(str(i), text=row["text"], label=row["category"]) for i, row in enumerate(raw)]
    rendered = Renderer.from_folder(folder).rows(examples, sequence_len=LENGTH, objective="classify")
    return [
        Row(raw[number], rendered.row(place)[0].tolist(), [0] * int(rendered.lengths[place]))
        for place, number in enumerate(rendered.kept)
    ]


def labelled(rows: Sequence[Row], labels: Sequence[str]) -> list[dict[str, Any]]:
    """What a peer is handed: ids and the number of the label."""
    return [{"ids": row.ids, "label": labels.index(row.raw["category"])} for row in rows]


def prepare(inputs: Inputs, trained: Trained, adapter: str) -> Callable[[Side], Task]:
    """The rows once; then each side's own share of them."""
    files, weights = model(MODEL, inputs.cache)
    pool = rows_of(inputs.data / TRAIN, files.folder)
    labels = sorted({row.raw["category"] for row in pool})
    recipe = RECIPE | {"adapter": adapter} | (TRAINED if adapter == "full" else {})
    warm = stratified(pool, WARM)

    def task(side: Side) -> Task:
        rows = stratified(pool, side.rows)
        job = {"model": str(files.folder), "threads": inputs.threads, "scratch": str(inputs.scratch)}
        if side.environment == "luthier":
            job |= {"home": str(home(inputs)), "warm": write_recipe(inputs, "warm", recipe, warm, ENTRY),
                    "recipe": write_recipe(inputs, "timed", recipe, rows, ENTRY)}  # fmt: skip
        else:
            job |= {"warm": labelled(warm, labels), "rows": labelled(rows, labels), "labels": len(labels)}
        return Task(job, amount(rows, weights, trained), digest((row.ids, row.mask) for row in rows))

    return task


def parity(inputs: Inputs) -> dict[str, Any]:
    """The rows of one step for one gradient of each side."""
    files, _ = model(MODEL, inputs.cache)
    chosen = stratified(rows_of(inputs.data / TRAIN, files.folder), BATCH)
    recipe = RECIPE | {"adapter": "full"} | TRAINED
    return {"objective": "classify", "home": str(home(inputs)), "scratch": str(inputs.scratch),
            "threads": inputs.threads, "recipe": write_recipe(inputs, "parity", recipe, chosen, ENTRY)}  # fmt: skip


BATCHES = {"per_device_train_batch_size": BATCH}
GROUPED = BATCHES | {"train_sampling_strategy": "group_by_length"}
CASES = (
    Case("classify-head", "Classification, frozen trunk: all-minilm-l6-v2 on banking77", "rows", (
        Side("Luthier", "luthier_fit.py", 4000, environment="luthier"),
        Side("transformers, scikit-learn", "sklearn_classify.py", 4000),
        Side("Trainer, frozen trunk, one epoch", "hf_classify.py", 4000, BATCHES | {"frozen": True}),
    ), partial(prepare, trained="head", adapter="head"), None,
        "Features of the trunk and the whole fit of the head count. The Trainer passes the rows once, which is not yet "
        "a whole fit."),
    Case("classify-full", "Classification, all weights: all-minilm-l6-v2 on banking77", "rows", (
        Side("Luthier", "luthier_fit.py", 2400, environment="luthier"),
        Side("Trainer, batches of 32", "hf_classify.py", 1600, BATCHES),
        Side("Trainer, batches of 32 grouped by length", "hf_classify.py", 1600, GROUPED),
    ), partial(prepare, trained="full", adapter="full"), parity,
        "One epoch. Luthier's first head, which it fits once before the first step, is not in it."),
)  # fmt: skip
