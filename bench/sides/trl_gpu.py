"""TRL's SFTTrainer on a GPU, or Unsloth's model in it, on rows that are already token ids. A JSON job on stdin."""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any


def main() -> None:
    job = json.load(sys.stdin)
    model, adapter = (unsloth if job["settings"].get("unsloth") else plain)(job)
    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Clock(TrainerCallback):
        """The moment at which each step ended."""

        ended: list[float] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            torch.cuda.synchronize()
            self.ended.append(time.perf_counter())

    draw = torch.Generator().manual_seed(0)
    total = job["rows"] * (job["warm"] + job["steps"])
    ids = torch.randint(5, 250, (total, job["length"]), generator=draw).tolist()
    data = Dataset.from_dict({"input_ids": ids, "labels": ids})
    settings = SFTConfig(
        output_dir=job["scratch"], max_length=job["length"], learning_rate=1e-5, bf16=True, num_train_epochs=1,
        per_device_train_batch_size=job["rows"], gradient_checkpointing=job["recompute"], logging_strategy="no",
        save_strategy="no", report_to=[], disable_tqdm=True,
    )  # fmt: skip
    clock = Clock()
    trainer = SFTTrainer(model, settings, train_dataset=data, peft_config=adapter, callbacks=[clock],
                         processing_class=AutoTokenizer.from_pretrained(job["model"]))  # fmt: skip
    trainer.train()
    seconds = [b - a for a, b in zip(clock.ended[job["warm"] - 1 :], clock.ended[job["warm"] :], strict=False)]
    print(json.dumps({"seconds": statistics.median(seconds), "peak_memory_bytes": torch.cuda.max_memory_allocated()}))


def plain(job: dict[str, Any]) -> tuple[Any, Any]:
    """A model as transformers opens it with FlashAttention of torch, and PEFT's settings."""
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM

    dtype = torch.float32 if job["trained"] == "full" else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype, attn_implementation="sdpa").cuda()
    adapter = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    return model, None if job["trained"] == "full" else adapter


def unsloth(job: dict[str, Any]) -> tuple[Any, Any]:
    """The same, as Unsloth opens it."""
    from unsloth import FastLanguageModel

    full = job["trained"] == "full"
    model, _ = FastLanguageModel.from_pretrained(
        job["model"], max_seq_length=job["length"], load_in_4bit=False, full_finetuning=full
    )
    if full:
        return model, None
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    return FastLanguageModel.get_peft_model(model, r=16, lora_alpha=32, target_modules=names,
                                            use_gradient_checkpointing=job["recompute"]), None  # fmt: skip


if __name__ == "__main__":
    main()
