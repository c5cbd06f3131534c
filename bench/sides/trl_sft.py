"""TRL's SFTTrainer on rows that are already token ids. Reads a JSON job on stdin."""

from __future__ import annotations

import json
import sys
from typing import Any

from datasets import Dataset
from trainer import COMMON, load, lora, timed
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer


def main() -> None:
    job = json.load(sys.stdin)
    warm = made(job, load(job), job["warm"], lora(job["adapter"]))
    warm.train()
    print(json.dumps(timed(made(job, warm.model, job["rows"], None))))


def made(job: dict[str, Any], model: Any, rows: list[dict[str, list[int]]], adapter: Any) -> SFTTrainer:
    """A trainer of `rows`; `model` has its adapter already where `adapter` is None."""
    data = Dataset.from_dict(
        {"input_ids": [row["ids"] for row in rows], "completion_mask": [row["mask"] for row in rows]}
    )
    settings = SFTConfig(
        output_dir=job["scratch"], max_length=job["length"], learning_rate=1e-4, completion_only_loss=True,
        **COMMON | job["settings"],
    )  # fmt: skip
    return SFTTrainer(model, settings, train_dataset=data, peft_config=adapter,
                      processing_class=AutoTokenizer.from_pretrained(job["model"]))  # fmt: skip


if __name__ == "__main__":
    main()
