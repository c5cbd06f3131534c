"""transformers.generate, one prompt at a time: first line `{folder, threads}`, then `{prompts, tokens, eos}` each."""

from __future__ import annotations

import json
import sys
import time

import torch
from transformers import AutoModelForCausalLM


def main() -> None:
    """Answer lines until stdin ends."""
    job = json.loads(sys.stdin.readline())
    torch.set_num_threads(job["threads"])
    model = AutoModelForCausalLM.from_pretrained(job["folder"], dtype=torch.float32)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        wish = json.loads(line)
        start, tokens = time.perf_counter(), 0
        for prompt in wish["prompts"]:
            ids = torch.tensor([prompt])
            out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=wish["tokens"],
                                 do_sample=False, eos_token_id=wish["eos"], pad_token_id=wish["eos"][0])  # fmt: skip
            tokens += out.shape[1] - len(prompt)
        print(json.dumps({"tokens": tokens, "seconds": time.perf_counter() - start}), flush=True)


if __name__ == "__main__":
    main()
