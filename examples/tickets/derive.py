"""Writes queue_*.csv (text, queue) and pairs_*.jsonl (an answer, and one with a wrong field) from the chat files."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

HERE = Path(__file__).parent
VALUES = {
    "queue": ("billing", "technical", "account", "shipping", "retention", "sales"),
    "urgency": ("low", "normal", "high"),
    "product": ("hub", "thermostat", "camera", "app", "plan"),
}


def derive(source: Path) -> str:
    """The CSV text of a chat file: the user's message and the answer's queue, in the order of the file."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("text", "queue"))
    for _, user, assistant in conversations(source):
        writer.writerow((user["content"], json.loads(assistant["content"])["queue"]))
    return out.getvalue()


def derive_pairs(source: Path) -> str:
    """The pairs of a chat file: each row's answer, and the same with one field wrong, in the order of the file."""
    lines = []
    for number, (system, user, assistant) in enumerate(conversations(source)):
        faulty = assistant | {"content": spoilt(assistant["content"], number)}
        lines.append(json.dumps({"prompt": [system, user], "chosen": [assistant], "rejected": [faulty]}) + "\n")
    return "".join(lines)


def spoilt(answer: str, number: int) -> str:
    """The answer with another value in one field: the fields take turns, and so do their other values."""
    labels = json.loads(answer)
    field = list(VALUES)[number % len(VALUES)]
    others = [value for value in VALUES[field] if value != labels[field]]
    return json.dumps(labels | {field: others[number // len(VALUES) % len(others)]})


def conversations(source: Path) -> list[list[dict[str, str]]]:
    """The messages of each row: system, user, assistant."""
    return [json.loads(line)["messages"] for line in source.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    for split in ("train", "test"):
        chats = HERE / f"{split}.jsonl"
        (HERE / f"queue_{split}.csv").write_text(derive(chats), encoding="utf-8", newline="")
        (HERE / f"pairs_{split}.jsonl").write_text(derive_pairs(chats), encoding="utf-8", newline="")


if __name__ == "__main__":
    main()
