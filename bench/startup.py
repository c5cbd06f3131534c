"""What a person waits for `luthier --help` and `luthier check`: medians of five, beside Python's own start.

Prints a table and writes bench/results/startup.json.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "bench" / "results" / "startup.json"
RECIPE = ROOT / "examples" / "tickets" / "recipe_queue.yaml"
REPEATS = 5
LUTHIER = [sys.executable, "-c", "import sys; from luthier.cli import main; sys.exit(main())"]
COMMANDS = {
    "python, nothing else": [sys.executable, "-c", "pass"],
    "luthier --help": [*LUTHIER, "--help"],
    "luthier check (819 rows)": [*LUTHIER, "check", str(RECIPE)],
}


def measure(home: str) -> dict[str, list[float]]:
    """Seconds of each command, taken in turns; a first round, which fills caches, is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(REPEATS + 1):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, env={**os.environ, "LUTHIER_HOME": home}, capture_output=True, check=True)
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        seconds = measure(home)
    rows = {
        name: {"median": statistics.median(taken), "low": min(taken), "high": max(taken), "n": len(taken)}
        for name, taken in seconds.items()
    }
    print(f"{'command':<28}{'median':>10}{'fastest':>10}{'slowest':>10}")
    for name, row in rows.items():
        print(f"{name:<28}{row['median']:>8.3f} s{row['low']:>8.3f} s{row['high']:>8.3f} s")
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps({"unit": "seconds", "commands": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
