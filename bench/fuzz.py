"""Ask a running server everything that its own OpenAPI document allows, and much that it does not, with Schemathesis.

    python bench/fuzz.py [--seconds 300] [--seed 1] [-- more options of `schemathesis run`]

A server over a tiny random model is started in a home of its own. Exit code 1 where any reply is a server error, is not
what the document says, or where a stack trace was written; needs `pip install schemathesis`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.output import ROOT, write_result

sys.path.insert(0, str(ROOT / "tests"))

from factory import write_tiny_llama

CHECKS = "not_a_server_error,content_type_conformance,response_schema_conformance,allow_header_conformance"
SERVE = "import sys; from luthier.cli import main; sys.exit(main())"


def main() -> int:
    """Run for the seconds that were asked for; print Schemathesis' own report."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=int, default=300)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("more", nargs="*")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = fuzz(Path(scratch), asked.seconds, asked.seed, asked.more)
    write_result("fuzz", found)
    return 0 if not found["failures"] and not found["traces"] and found["ended_well"] else 1


def fuzz(scratch: Path, seconds: int, seed: int, more: list[str]) -> dict:
    """What came of it: how Schemathesis ended, stack traces in the server's log, whether the server ended when told."""
    model = write_tiny_llama(scratch / "model")
    log = scratch / "log.txt"
    environment = {**os.environ, "LUTHIER_HOME": str(scratch / "home")}
    command = [sys.executable, "-c", SERVE, "up", str(model), "--engine", "torch", "--port", "0", "--timeout", "20"]
    with log.open("wb") as errors:
        server = subprocess.Popen([*command, "--json"], env=environment, stdout=subprocess.PIPE, stderr=errors)
        assert server.stdout
        try:
            site = json.loads(server.stdout.readline())["url"].removesuffix("/v1")
            program = str(Path(sys.executable).with_name("schemathesis"))
            ended = subprocess.run(
                [program, "run", f"{site}/openapi.json", "--max-time", str(seconds), "--seed", str(seed), "--checks",
                 CHECKS, "--continue-on-failure", "--suppress-health-check", "all", *more], check=False, cwd=scratch,
            )  # fmt: skip
        finally:
            server.send_signal(signal.SIGTERM)
            code = server.wait(60)
    text = log.read_text(errors="replace")
    print(text[-4000:], file=sys.stderr)
    return {"seconds": seconds, "seed": seed, "failures": ended.returncode, "traces": text.count("Traceback"),
            "ended_well": code == 0}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
