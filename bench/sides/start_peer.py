"""Seconds of `trl --help`, or from Python's start to TRL's first optimizer step. Reads a JSON job on stdin."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    job = json.load(sys.stdin)
    help_ = [str(Path(sys.executable).with_name("trl")), "--help"]
    command = help_ if job["settings"]["what"] == "help" else [sys.executable, str(HERE / "trl_first_step.py")]
    start = time.perf_counter()
    out = subprocess.run(command, input=json.dumps(job), text=True, capture_output=True, check=False)
    if out.returncode:
        sys.exit(out.stderr)
    print(json.dumps({"seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
