"""A user's program for TRL that ends when the first optimizer step begins. Reads a JSON job on stdin."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer


class End(TrainerCallback):
    """Ends the program."""

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        os._exit(0)


job = json.load(sys.stdin)
adapter = job["adapter"]
SFTTrainer(
    AutoModelForCausalLM.from_pretrained(job["model"], dtype="float32"),
    SFTConfig(job["scratch"], max_length=job["length"], report_to=[], use_cpu=True, bf16=False),
    train_dataset=load_dataset("json", data_files=job["chats"], split="train",
                               cache_dir=f"{job['scratch']}/datasets-{os.getpid()}"),
    processing_class=AutoTokenizer.from_pretrained(job["model"]), callbacks=[End()],
    peft_config=LoraConfig(r=adapter["lora_r"], lora_alpha=adapter["lora_alpha"], task_type="CAUSAL_LM",
                           target_modules=adapter["lora_target_modules"]),
).train()  # fmt: skip
