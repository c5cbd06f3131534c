"""TRL's DPOTrainer on pairs that are already token ids. Reads a JSON job on stdin."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from datasets import Dataset
from trainer import COMMON, load, lora, timed
from transformers import AutoTokenizer
from trl import DPOConfig, DPOTrainer

Pair = list[dict[str, list[int]]]


class Tokenised(DPOTrainer):
    """Takes pairs as they are, `prompt_ids`, `chosen_ids`, `rejected_ids`, and times what it does before training."""

    reference_seconds = 0.0

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, *arguments: Any, **named: Any) -> Dataset:
        start = time.perf_counter()
        found = super()._precompute_ref_logps(*arguments, **named)
        self.reference_seconds += time.perf_counter() - start
        return found


def main() -> None:
    job = json.load(sys.stdin)
    warm = made(job, load(job), job["warm"], lora(job["adapter"]))
    warm.train()
    trainer = made(job, warm.model, job["rows"], None)
    found = timed(trainer)
    found["before_seconds"] = trainer.reference_seconds
    print(json.dumps(found | {"seconds": found["seconds"] + trainer.reference_seconds}))


def made(job: dict[str, Any], model: Any, rows: list[Pair], adapter: Any) -> Tokenised:
    """A trainer of pairs; `model` has its adapter already where `adapter` is None."""
    settings = DPOConfig(output_dir=job["scratch"], max_length=job["length"], learning_rate=5e-5, beta=job["beta"],
                         **COMMON, **job["settings"])  # fmt: skip
    return Tokenised(model, args=settings, train_dataset=Dataset.from_list(list(map(parts, rows))), peft_config=adapter,
                     processing_class=AutoTokenizer.from_pretrained(job["model"]))  # fmt: skip


def parts(pair: Pair) -> dict[str, list[int]]:
    """The prompt of a pair, up to the first token that counts, and its two answers up to the last one."""
    first = pair[0]["mask"].index(1)
    chosen, rejected = (row["ids"][first : first + sum(row["mask"])] for row in pair)
    return {"prompt_ids": pair[0]["ids"][:first], "chosen_ids": chosen, "rejected_ids": rejected}


if __name__ == "__main__":
    main()
