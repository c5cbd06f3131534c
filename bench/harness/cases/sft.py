"""Supervised fine-tuning of SmolLM2-135M on dolly: LoRA, all weights, and LoRA on weights of four bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from harness.case import Case, Inputs, Side, Task
from harness.cases.recipe import home, model, write_recipe
from harness.count import Trained, amount
from harness.rows import Row, digest, stratified
from luthier.data.render import Renderer
from luthier.data.sources import read
from luthier.recipe import DataEntry

MODEL, BATCH, LENGTH, WARM, POOL = "smollm2-135m-instruct", 16, 1024, 4, 128
"""The model; rows of an optimizer step; the longest row in tokens; rows that warm up; rows that slices are cut from."""
ENTRY = {"type": "alpaca", "field_instruction": "instruction", "field_input": "context", "field_output": "response"}
TRAIN = {"num_epochs": 1, "batch_size": BATCH, "learning_rate": 1e-4, "warmup_ratio": 0.0, "sequence_len": LENGTH,
         "truncation": "right", "rehearsal": 0}  # fmt: skip
RECIPE: dict[str, Any] = {"base_model": MODEL, "objective": "sft", "splits": {"validation": 0, "test": 0},
                          "train": TRAIN, "ship": {"require": "nothing"}}  # fmt: skip
LORA: dict[str, Any] = {"type": "lora", "lora_r": 16, "lora_alpha": 32, "lora_target_modules": "all-linear"}
PACKED = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4, "packing": True}
ALONE = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": BATCH}
GROUPED = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2,
           "train_sampling_strategy": "group_by_length"}  # fmt: skip
PLAIN = {"gradient_checkpointing": False}


def dolly(data: Path, folder: Path) -> list[Row]:
    """All rows of the file that are whole, once each, as token ids and masks of what their answers predict."""
    path = data / "dolly_en" / "train.jsonl"
    raw = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    examples = read(DataEntry(path=str(path.resolve()), **ENTRY), Path.cwd()).examples
    rendered = Renderer.from_folder(folder).rows(examples, sequence_len=LENGTH, truncation="right")
    rows: dict[tuple[int, ...], Row] = {}
    for place, number in enumerate(rendered.kept):
        ids, weights = rendered.row(place)
        row = Row(raw[number], ids.tolist(), (weights > 0).astype(int).tolist())
        if any(row.mask):
            rows.setdefault(tuple(row.ids), row)
    return list(rows.values())


def prepare(inputs: Inputs, trained: Trained, adapter: Any, four_bit: bool) -> Callable[[Side], Task]:
    """The rows once; then each side's own share of them."""
    files, weights = model(MODEL, inputs.cache)
    pool = stratified(dolly(inputs.data, files.folder), POOL)
    recipe = RECIPE | {"adapter": adapter} | ({"load_in_4bit": True} if four_bit else {})
    warm = stratified(pool, WARM)

    def task(side: Side) -> Task:
        rows = stratified(pool, side.rows)
        job = {"model": str(files.folder), "threads": inputs.threads, "scratch": str(inputs.scratch)}
        if side.environment == "luthier":
            own = recipe | {"train": TRAIN | side.settings}
            job |= {"home": str(home(inputs)), "warm": write_recipe(inputs, "warm", own, warm, ENTRY),
                    "recipe": write_recipe(inputs, "timed", own, rows, ENTRY)}  # fmt: skip
        else:
            job |= {"warm": [row.job() for row in warm], "rows": [row.job() for row in rows], "length": LENGTH,
                    "adapter": adapter, "four_bit": four_bit}  # fmt: skip
        return Task(job, amount(rows, weights, trained), digest((row.ids, row.mask) for row in rows))

    return task


def parity(inputs: Inputs, adapter: Any, four_bit: bool, precision: str = "float32", rows: int = 4) -> dict[str, Any]:
    """A few rows for one gradient of each side."""
    files, _ = model(MODEL, inputs.cache)
    chosen = stratified(stratified(dolly(inputs.data, files.folder), POOL), rows)
    recipe = RECIPE | {"adapter": adapter} | ({"load_in_4bit": True} if four_bit else {})
    recipe |= {"train": TRAIN | {"precision": precision}}
    return {"objective": "sft", "home": str(home(inputs)), "scratch": str(inputs.scratch), "threads": inputs.threads,
            "recipe": write_recipe(inputs, "parity", recipe, chosen, ENTRY)}  # fmt: skip


def case(
    name: str, title: str, trained: Trained, adapter: Any, sides: tuple[Side, ...], four_bit: bool = False,
    precision: str = "float32",
) -> Case:  # fmt: skip
    """One of the cases, which differ in what is trained, and in which numbers."""
    return Case(name, title, "tokens", sides, partial(prepare, trained=trained, adapter=adapter, four_bit=four_bit),
                partial(parity, adapter=adapter, four_bit=four_bit, precision=precision),
                "Tokens of data: each row once, prompts included, padding not.")  # fmt: skip


def ours(rows: int, name: str = "Luthier", **train: Any) -> Side:
    """Luthier, as its recipe resolves, but for these settings of `train`."""
    return Side(name, "luthier_fit.py", rows, train, environment="luthier")


def trl(name: str, rows: int, *settings: dict[str, Any]) -> Side:
    """TRL's SFTTrainer with what differs from its defaults."""
    return Side(f"TRL, {name}", "trl_sft.py", rows, {k: v for part in settings for k, v in part.items()})


DEFAULTS = {"gradient_accumulation_steps": BATCH // 8}
CASES = (
    case("sft-lora", "LoRA: SmolLM2-135M on rows of dolly", "adapter", LORA, (
        ours(32),
        trl("its defaults", 8, DEFAULTS),
        trl("packing", 16, PACKED),
        trl("packing, no checkpointing", 24, PACKED, PLAIN),
        trl("rows alone, no checkpointing", 24, ALONE, PLAIN),
        trl("grouped by length, no checkpointing", 16, GROUPED, PLAIN),
        Side("Trainer and PEFT, rows alone", "hf_sft.py", 16, ALONE | PLAIN),
    )),
    case("sft-full", "All weights: SmolLM2-135M on rows of dolly", "full", "full", (
        ours(48),
        trl("its defaults", 16, DEFAULTS),
        trl("packing, no checkpointing", 32, PACKED, PLAIN),
        trl("rows alone, no checkpointing", 24, ALONE, PLAIN),
    )),
    case("sft-nf4", "LoRA on weights of four bits (NF4): SmolLM2-135M on rows of dolly", "adapter", LORA, (
        ours(32),
        trl("bitsandbytes, its defaults", 8, DEFAULTS),
        trl("bitsandbytes, packing, no checkpointing", 24, PACKED, PLAIN),
    ), four_bit=True),
    case("sft-bfloat16", "LoRA in bfloat16: SmolLM2-135M on rows of dolly", "adapter", LORA, (
        ours(32, precision="bfloat16"),
        ours(32, "Luthier, float32"),
        trl("rows alone, no checkpointing, bfloat16", 16, ALONE, PLAIN, {"bf16": True}),
    ), precision="bfloat16"),
)  # fmt: skip
