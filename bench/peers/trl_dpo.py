"""The peer of bench/dpo.py: TRL's DPOTrainer on pairs that are already token ids. Reads a JSON job on stdin."""

from __future__ import annotations

import json
import resource
import sys
import time
from itertools import pairwise

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer


class Clock(TrainerCallback):
    """The moment at which each optimizer step ended."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def on_step_end(self, *_: object, **__: object) -> None:
        self.moments.append(time.perf_counter())


class Tokenised(DPOTrainer):
    """Takes pairs as they are: `prompt_ids`, `chosen_ids`, `rejected_ids`."""

    def _prepare_dataset(self, dataset: Dataset, *_: object, **__: object) -> Dataset:
        return dataset


def main() -> None:
    job = json.load(sys.stdin)
    torch.set_num_threads(job["threads"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
    settings = DPOConfig(
        output_dir=job["folder"], max_length=job["sequence_len"], learning_rate=5e-5, max_steps=job["steps"],
        beta=job["beta"], logging_strategy="no", save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True,
        bf16=False, **job["settings"],
    )  # fmt: skip
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    clock = Clock()
    trainer = Tokenised(
        model, args=settings, train_dataset=Dataset.from_list(pairs(job["rows"])), peft_config=lora, callbacks=[clock],
        processing_class=AutoTokenizer.from_pretrained(job["model"]),
    )  # fmt: skip
    start = time.perf_counter()
    trainer.train()
    seen = [start, *clock.moments]
    print(json.dumps({"step_seconds": [b - a for a, b in pairwise(seen)],
                      "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))  # fmt: skip


def pairs(rows: list[dict[str, list[int]]]) -> list[dict[str, list[int]]]:
    """Each pair's prompt, up to the first token that counts, and its two answers."""
    found = []
    for chosen, rejected in zip(rows[::2], rows[1::2], strict=True):
        first = chosen["mask"].index(1)
        found.append({"prompt_ids": chosen["ids"][:first], "chosen_ids": chosen["ids"][first:],
                      "rejected_ids": rejected["ids"][first:]})  # fmt: skip
    return found


if __name__ == "__main__":
    main()
