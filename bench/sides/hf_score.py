"""transformers on the same ids, in padded batches of like length. Reads a JSON job on stdin."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch
from harness.machine import peak_memory
from harness.rows import digest
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    job = json.load(sys.stdin)
    torch.set_num_threads(job["threads"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
    stop = AutoTokenizer.from_pretrained(job["model"]).convert_tokens_to_ids("<|im_end|>")
    act = {"generate": generate, "likelihood": likelihood}[job["doing"]]
    act(model, job, job["warm"], stop)
    start = time.perf_counter()
    found = act(model, job, job["rows"], stop)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "peak_memory_bytes": peak_memory(), **found}))


def batches(rows: list[list[int]], size: int) -> list[list[int]]:
    """Numbers of rows of like length, the longest first."""
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    return [order[first : first + size] for first in range(0, len(order), size)]


@torch.no_grad()
def generate(model: Any, job: dict[str, Any], rows: list[dict[str, Any]], stop: int) -> dict[str, Any]:
    """Greedy answers, padded on the left; what follows the end of an answer is cut off."""
    prompts = [row["prompt"] for row in rows]
    answers: list[list[int]] = [[] for _ in rows]
    for own in batches(prompts, job["settings"]["batch"]):
        longest = max(len(prompts[i]) for i in own)
        ids = torch.tensor([[stop] * (longest - len(prompts[i])) + prompts[i] for i in own])
        mask = torch.tensor([[0] * (longest - len(prompts[i])) + [1] * len(prompts[i]) for i in own])
        found = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=job["max_new_tokens"],
                               do_sample=False, eos_token_id=[stop, model.config.eos_token_id],
                               pad_token_id=stop)  # fmt: skip
        for i, new in zip(own, found[:, longest:].tolist(), strict=True):
            ends = [new.index(end) for end in (stop, model.config.eos_token_id) if end in new]
            answers[i] = new[: min(ends, default=len(new))]
    return {"answers": answers, "digest": digest((ids, []) for ids in prompts)}


@torch.no_grad()
def likelihood(model: Any, job: dict[str, Any], rows: list[dict[str, Any]], stop: int) -> dict[str, Any]:
    """The negative log-likelihood of the tokens that count."""
    nll = [0.0] * len(rows)
    for own in batches([row["ids"] for row in rows], job["settings"]["batch"]):
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(rows[i]["ids"]) for i in own], True, stop)
        mask = torch.nn.utils.rnn.pad_sequence([torch.tensor(rows[i]["mask"]) for i in own], True, 0)
        present = torch.nn.utils.rnn.pad_sequence([torch.ones(len(rows[i]["ids"])) for i in own], True, 0).long()
        logits = model(input_ids=ids, attention_mask=present).logits[:, :-1]
        scores = torch.log_softmax(logits, -1).gather(2, ids[:, 1:, None])[..., 0]
        for i, value in zip(own, (scores * mask[:, 1:]).sum(1).neg().tolist(), strict=True):
            nll[i] = value
    return {"nll": nll, "digest": digest((row["ids"], row["mask"]) for row in rows)}


if __name__ == "__main__":
    main()
