"""With labels shuffled there is nothing to learn: how often does the gate say ship all the same?

    python bench/shuffled.py [--seeds 20]

Each seed shuffles the queues of the example tickets among the rows and does the whole job: frozen encoder, baselines,
intervals, gate. A verdict of `ship` is a false one; at 95 % confidence one in twenty is what may be expected at most.
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
import tempfile
from pathlib import Path

from harness.output import ROOT, write_result

from luthier.jobs.run import run
from luthier.store import Home

TICKETS = ROOT / "examples" / "tickets"


def main() -> int:
    """Print a line for each seed, write bench/results/shuffled.json; exit code 1 above one false verdict in twenty."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=20)
    seeds = options.parse_args().seeds
    with tempfile.TemporaryDirectory() as scratch:
        rows = [one(Path(scratch), seed) for seed in range(seeds)]
    false = sum(row["verdict"] == "ship" for row in rows)
    print(f"false verdicts of ship: {false} of {seeds}")
    write_result("shuffled", {"seeds": seeds, "false_ship": false, "runs": rows})
    return 0 if false <= seeds / 20 else 1


def one(scratch: Path, seed: int) -> dict:
    """The verdict on rows whose labels were shuffled with `seed`."""
    folder = scratch / str(seed)
    folder.mkdir()
    for name in ("queue_train.csv", "queue_test.csv"):
        shuffle(TICKETS / name, folder / name, seed)
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        "base_model: all-minilm-l6-v2\ndata:\n  - {path: queue_train.csv, field_text: text, field_label: queue}\n"
        "  - {path: queue_test.csv, split: test, field_text: text, field_label: queue}\n"
        "adapter: head\nobjective: classify\n"
        "train: {num_epochs: 10}\n"
    )
    found = run(recipe, home=Home.open(scratch / "home"))
    row = {"seed": seed, "verdict": found["verdict"], "reason": found["reasons"][0]}
    print(f"{seed:>3}  {row['verdict']:<5} {row['reason']}", flush=True)
    return row


def shuffle(source: Path, target: Path, seed: int) -> None:
    """Copy a table with its last column shuffled among the rows."""
    with source.open(newline="", encoding="utf-8") as file:
        head, *rows = list(csv.reader(file))
    labels = [row[-1] for row in rows]
    random.Random(seed).shuffle(labels)
    with target.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *([*row[:-1], label] for row, label in zip(rows, labels, strict=True))])


if __name__ == "__main__":
    sys.exit(main())
