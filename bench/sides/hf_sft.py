"""Hugging Face's Trainer and PEFT on rows that are already token ids. Reads a JSON job on stdin."""

from __future__ import annotations

import json
import sys
from typing import Any

from datasets import Dataset
from peft import get_peft_model
from trainer import COMMON, load, lora, timed
from transformers import AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments


def main() -> None:
    job = json.load(sys.stdin)
    model = get_peft_model(load(job), lora(job["adapter"]))
    made(job, model, job["warm"]).train()
    print(json.dumps(timed(made(job, model, job["rows"]))))


def made(job: dict[str, Any], model: Any, rows: list[dict[str, list[int]]]) -> Trainer:
    """A trainer of `rows` that pads to the longest of a batch."""
    data = Dataset.from_dict({
        "input_ids": [row["ids"] for row in rows],
        "attention_mask": [[1] * len(row["ids"]) for row in rows],
        "labels": [[i if m else -100 for i, m in zip(row["ids"], row["mask"], strict=True)] for row in rows],
    })  # fmt: skip
    settings = TrainingArguments(output_dir=job["scratch"], learning_rate=1e-4, **COMMON, **job["settings"])
    collator = DataCollatorForSeq2Seq(AutoTokenizer.from_pretrained(job["model"]), padding=True)
    return Trainer(model, settings, train_dataset=data, data_collator=collator)


if __name__ == "__main__":
    main()
