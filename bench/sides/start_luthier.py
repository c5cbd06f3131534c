"""Seconds that a verb of the command line takes, or `train` until its first step begins. Reads a JSON job on stdin."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

LUTHIER = [sys.executable, "-c", "import sys; from luthier.cli import main; sys.exit(main())"]


def main() -> None:
    job = json.load(sys.stdin)
    verb, home = job["settings"]["verb"], Path(job["home"])
    shutil.rmtree(home / "cache" / "rendered", ignore_errors=True)
    seconds = {"--help": whole, "check": whole, "train": first_step}[verb](
        [*LUTHIER, verb, *([job["recipe"]] if verb != "--help" else [])], os.environ | {"LUTHIER_HOME": str(home)}
    )
    print(json.dumps({"seconds": seconds}))


def whole(command: list[str], environment: dict[str, str]) -> float:
    """Until the command has ended."""
    start = time.perf_counter()
    subprocess.run(command, env=environment, capture_output=True, check=True)
    return time.perf_counter() - start


def first_step(command: list[str], environment: dict[str, str]) -> float:
    """Until the first step begins: when it is reported, less what it took. The run is then interrupted."""
    start = time.perf_counter()
    child = subprocess.Popen([*command, "--json", "--fresh"], env=environment, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert child.stderr is not None
    for line in child.stderr:
        event: dict[str, Any] = json.loads(line)
        if event.get("kind") == "progress" and event.get("step") == 1:
            seconds = time.perf_counter() - start - event["metrics"]["seconds"]
            child.kill()
            child.wait()
            return seconds
    raise SystemExit("the run ended before its first step")


if __name__ == "__main__":
    main()
