"""The peer of bench/sft.py: TRL's SFTTrainer on rows that are already token ids. Reads a JSON job on stdin."""

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
from trl import SFTConfig, SFTTrainer


class Clock(TrainerCallback):
    """The moment at which each optimizer step ended."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def on_step_end(self, *_: object, **__: object) -> None:
        self.moments.append(time.perf_counter())


def main() -> None:
    job = json.load(sys.stdin)
    torch.set_num_threads(job["threads"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
    rows = Dataset.from_dict(
        {"input_ids": [r["ids"] for r in job["rows"]], "completion_mask": [r["mask"] for r in job["rows"]]}
    )
    settings = SFTConfig(
        output_dir=job["folder"], max_length=job["sequence_len"], learning_rate=1e-4, max_steps=job["steps"],
        logging_strategy="no", save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True,
        completion_only_loss=True, bf16=False, **job["settings"],
    )  # fmt: skip
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    clock = Clock()
    trainer = SFTTrainer(
        model, settings, train_dataset=rows, peft_config=lora, callbacks=[clock],
        processing_class=AutoTokenizer.from_pretrained(job["model"]),
    )  # fmt: skip
    start = time.perf_counter()
    trainer.train()
    seen = [start, *clock.moments]
    print(json.dumps({"step_seconds": [b - a for a, b in pairwise(seen)],
                      "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))  # fmt: skip


if __name__ == "__main__":
    main()
