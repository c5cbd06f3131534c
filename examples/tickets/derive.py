"""Writes queue_train.csv and queue_test.csv (text, queue) from train.jsonl and test.jsonl, row by row."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

HERE = Path(__file__).parent


def derive(source: Path) -> str:
    """The CSV text of a chat file: the user's message and the answer's queue, in the order of the file."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("text", "queue"))
    for line in source.read_text(encoding="utf-8").splitlines():
        _, user, assistant = json.loads(line)["messages"]
        writer.writerow((user["content"], json.loads(assistant["content"])["queue"]))
    return out.getvalue()


def main() -> None:
    for split in ("train", "test"):
        target = HERE / f"queue_{split}.csv"
        target.write_text(derive(HERE / f"{split}.jsonl"), encoding="utf-8", newline="")


if __name__ == "__main__":
    main()
