"""transformers' apply_chat_template on conversations, plainly or through datasets. Reads a JSON job on stdin."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

job = json.load(sys.stdin)
os.environ["HF_DATASETS_CACHE"] = str(Path(job["scratch"]) / "datasets" / str(os.getpid()))

from datasets import Dataset  # noqa: E402
from harness.machine import peak_memory  # noqa: E402
from harness.rows import digest  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

Chats = list[list[dict[str, str]]]


def main() -> None:
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    act = {"one": one, "all": all_at_once, "map": mapped, "texts": texts}[job["settings"]["how"]]
    act(tokenizer, job["chats"] if job["again"] else job["chats"][:50])()
    begin = act(tokenizer, job["chats"])
    start = time.perf_counter()
    found = begin()
    seconds = time.perf_counter() - start
    seen = digest((ids, []) for ids in found)
    print(json.dumps({"seconds": seconds, "peak_memory_bytes": peak_memory(), "digest": seen}))


def one(tokenizer: Any, chats: Chats) -> Callable[[], list[list[int]]]:
    """A call for each conversation."""
    return lambda: [tokenizer.apply_chat_template(chat, return_dict=False) for chat in chats]


def all_at_once(tokenizer: Any, chats: Chats) -> Callable[[], list[list[int]]]:
    """One call for all."""
    return lambda: tokenizer.apply_chat_template(chats, return_dict=False)


def texts(tokenizer: Any, chats: Chats) -> Callable[[], list[list[int]]]:
    """The Rust tokenizer alone, on all cores; the template is applied before."""
    written = tokenizer.apply_chat_template(chats, tokenize=False)
    own = tokenizer.backend_tokenizer
    return lambda: [found.ids for found in own.encode_batch_fast(written, add_special_tokens=False)]


def mapped(tokenizer: Any, chats: Chats) -> Callable[[], Any]:
    """`datasets.map` in one process, of a file that is read already."""
    path = Path(job["scratch"]) / f"{len(chats)}.jsonl"
    path.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats), encoding="utf-8")
    data = Dataset.from_json(str(path))

    def encode(row: dict[str, Any]) -> dict[str, list[int]]:
        return {"ids": tokenizer.apply_chat_template(row["messages"], return_dict=False)}

    return lambda: data.map(encode, remove_columns=["messages"])["ids"]


if __name__ == "__main__":
    main()
