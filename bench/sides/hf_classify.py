"""Hugging Face's Trainer on an encoder with a new head. Reads a JSON job on stdin."""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from datasets import Dataset
from trainer import COMMON, timed
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)


def main() -> None:
    job = json.load(sys.stdin)
    torch.set_num_threads(job["threads"])
    model = AutoModelForSequenceClassification.from_pretrained(job["model"], num_labels=job["labels"])
    if job["settings"].pop("frozen", False):
        model.base_model.requires_grad_(False)
    if "test" not in job:
        made(job, model, job["warm"]).train()
    trainer = made(job, model, job["rows"])
    found = timed(trainer)
    evaluations = [entry for entry in trainer.state.log_history if "eval_accuracy" in entry]
    found["seconds"] -= sum(entry["eval_runtime"] for entry in evaluations[:-1])  # the last one comes after the clock
    print(json.dumps(found | {"accuracy_by_epoch": [entry["eval_accuracy"] for entry in evaluations]}))


def made(job: dict[str, Any], model: Any, rows: list[dict[str, Any]]) -> Trainer:
    """A trainer of `rows` that pads to the longest of a batch, and measures the job's test rows where it has some."""
    settings = TrainingArguments(output_dir=job["scratch"], learning_rate=2e-4, **COMMON | job["settings"])
    collator = DataCollatorWithPadding(AutoTokenizer.from_pretrained(job["model"]))
    return Trainer(model, settings, train_dataset=table(rows), data_collator=collator,
                   eval_dataset=table(job["test"]) if "test" in job else None, compute_metrics=accuracy)  # fmt: skip


def table(rows: list[dict[str, Any]]) -> Dataset:
    """Rows as the Trainer takes them."""
    return Dataset.from_dict({
        "input_ids": [row["ids"] for row in rows], "attention_mask": [[1] * len(row["ids"]) for row in rows],
        "labels": [row["label"] for row in rows],
    })  # fmt: skip


def accuracy(found: Any) -> dict[str, float]:
    """The share of rows whose label is found."""
    return {"accuracy": float((found[0].argmax(1) == found[1]).mean())}


if __name__ == "__main__":
    main()
