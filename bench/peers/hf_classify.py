"""The peer of bench/classify.py: Hugging Face Trainer on all weights of an encoder. Reads a JSON job on stdin."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)


def main() -> None:
    job = json.load(sys.stdin)
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    model = AutoModelForSequenceClassification.from_pretrained(job["model"], num_labels=len(job["labels"]))
    index = {label: number for number, label in enumerate(job["labels"])}

    def encode(rows: list[list[str]]) -> Dataset:
        texts, labels = zip(*rows, strict=True)
        encoded = tokenizer(list(texts), truncation=True, max_length=job["sequence_len"])
        return Dataset.from_dict({**encoded, "labels": [index[label] for label in labels]})

    arguments = TrainingArguments(
        output_dir=job["folder"], num_train_epochs=job.get("epochs", 1), max_steps=job.get("max_steps", -1),
        per_device_train_batch_size=job["batch_size"],
        per_device_eval_batch_size=64, learning_rate=job["learning_rate"],
        eval_strategy="epoch" if "epochs" in job else "no", save_strategy="no",
        logging_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    trainer = Trainer(
        model, arguments, train_dataset=encode(job["train"]), eval_dataset=encode(job["test"]),
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=lambda found: {"accuracy": float((np.argmax(found[0], 1) == found[1]).mean())},
    )  # fmt: skip
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    accuracies = [entry["eval_accuracy"] for entry in trainer.state.log_history if "eval_accuracy" in entry]
    evaluating = sum(entry.get("eval_runtime", 0.0) for entry in trainer.state.log_history)
    rows = trainer.state.global_step * job["batch_size"]
    print(json.dumps({"seconds": seconds - evaluating, "rows": rows, "accuracy_by_epoch": accuracies}))


if __name__ == "__main__":
    main()
