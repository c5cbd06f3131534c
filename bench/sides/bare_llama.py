"""xllamacpp called in its own process: first line `{gguf, threads, places}`, then `{prompts, tokens, clients}` each."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

import xllamacpp


def main() -> None:
    """Answer lines until stdin ends; what the library prints goes to stderr."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    job = json.loads(sys.stdin.readline())
    server = opened(job)
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(together(server, json.loads(line))), file=out, flush=True)


def opened(job: dict[str, Any]) -> xllamacpp.Server:
    """The model, with as many slots as the gateway's engine has."""
    params = xllamacpp.CommonParams()
    params.model.path = job["gguf"]
    params.n_parallel, params.n_ctx = job["places"], job["context"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = job["threads"]
    params.warmup, params.verbosity = True, 0
    return xllamacpp.Server(params)


def together(server: xllamacpp.Server, wish: dict[str, Any]) -> dict[str, Any]:
    """The answers to all prompts, asked by so many threads."""
    waiting, lock = list(reversed(wish["prompts"])), threading.Lock()
    tokens, first_ms = [], []

    def client() -> None:
        while True:
            with lock:
                if not waiting:
                    return
                prompt = waiting.pop()
            count, first = one(server, prompt, wish["tokens"])
            with lock:
                tokens.append(count)
                first_ms.append(first)

    start = time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(wish["clients"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"tokens": sum(tokens), "seconds": time.perf_counter() - start, "first_ms": first_ms}


def one(server: xllamacpp.Server, prompt: list[int], most: int) -> tuple[int, float]:
    """Tokens of a streamed answer, and milliseconds to its first text."""
    start, first, count = time.perf_counter(), 0.0, 0

    def hear(piece: str) -> None:
        nonlocal first, count
        found = json.loads(piece)
        if not first and found["choices"] and found["choices"][0]["text"]:
            first = 1000 * (time.perf_counter() - start)
        count = found.get("usage", {}).get("completion_tokens", count)

    body = {"prompt": prompt, "n_predict": most, "temperature": 0, "stream": True,
            "stream_options": {"include_usage": True}}  # fmt: skip
    server.handle_completions(json.dumps(body), hear)
    return count, first


if __name__ == "__main__":
    main()
