"""What the sides with Hugging Face's Trainer share: the clock, what the model was shown, models and adapters."""

from __future__ import annotations

import time
from typing import Any

import torch
from harness.machine import peak_memory
from harness.rows import digest
from peft import LoraConfig
from seen import Seen
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, TrainerCallback

COMMON: dict[str, Any] = {
    "logging_strategy": "no", "save_strategy": "no", "report_to": [], "disable_tqdm": True, "use_cpu": True,
    "bf16": False, "lr_scheduler_type": "cosine", "num_train_epochs": 1,
}  # fmt: skip


class Clock(TrainerCallback):
    """The moments at which training began and at which its last optimizer step ended."""

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.begun = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ended = time.perf_counter()


def timed(trainer: Any) -> dict[str, Any]:
    """Train for one epoch: seconds from its begin to the end of its last step, and what was seen."""
    clock, seen = Clock(), Seen(trainer.data_collator)
    trainer.add_callback(clock)
    trainer.data_collator = seen
    trainer.train()
    return {"seconds": clock.ended - clock.begun, "digest": digest(seen.rows()), "steps": trainer.state.global_step,
            "peak_memory_bytes": peak_memory()}  # fmt: skip


def load(job: dict[str, Any]) -> Any:
    """The base model in float32, its linear layers in NF4 where the job says so."""
    torch.set_num_threads(job["threads"])
    options: dict[str, Any] = {}
    if job.get("four_bit"):
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        )  # fmt: skip
        options["device_map"] = "cpu"
    return AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32, **options)


def lora(adapter: Any) -> LoraConfig | None:
    """PEFT's settings of the recipe's adapter; None where all weights are trained."""
    if adapter == "full":
        return None
    return LoraConfig(r=adapter["lora_r"], lora_alpha=adapter["lora_alpha"], task_type="CAUSAL_LM",
                      target_modules=adapter["lora_target_modules"])  # fmt: skip
