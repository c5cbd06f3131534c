"""Features of a frozen encoder in padded batches, then logistic regression. Reads a JSON job on stdin."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import torch
from harness.machine import peak_memory
from harness.rows import digest
from sklearn.linear_model import LogisticRegression
from transformers import AutoModel

BATCH = 32


def main() -> None:
    job = json.load(sys.stdin)
    torch.set_num_threads(job["threads"])
    model = AutoModel.from_pretrained(job["model"], dtype=torch.float32)
    fit(model, job["warm"])
    start = time.perf_counter()
    fit(model, job["rows"])
    seconds = time.perf_counter() - start
    seen = digest((row["ids"], [0] * len(row["ids"])) for row in job["rows"])
    print(json.dumps({"seconds": seconds, "digest": seen, "peak_memory_bytes": peak_memory()}))


def fit(model: Any, rows: list[dict[str, Any]]) -> LogisticRegression:
    """The regression (C = 10) on the normalised mean of the last states."""
    labels = np.array([row["label"] for row in rows])
    return LogisticRegression(C=10, max_iter=1000).fit(features(model, [row["ids"] for row in rows]), labels)


@torch.no_grad()
def features(model: Any, rows: list[list[int]]) -> np.ndarray:
    """The normalised mean of the last states of each row."""
    found = np.zeros((len(rows), model.config.hidden_size), np.float32)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for first in range(0, len(order), BATCH):
        own = order[first : first + BATCH]
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(rows[i]) for i in own], True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(rows[i])) for i in own], True)
        states = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        means = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        found[own] = torch.nn.functional.normalize(means, dim=1).numpy()
    return found


if __name__ == "__main__":
    main()
