"""A server that does nothing but have the jobs of a home done: `python job_server.py HOME`, until its stdin closes."""

from __future__ import annotations

import sys
from pathlib import Path

from luthier.jobs.scheduler import scheduling
from luthier.store import Home

if __name__ == "__main__":
    with scheduling(Home.open(Path(sys.argv[1]))):
        sys.stdin.read()
