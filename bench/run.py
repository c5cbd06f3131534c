"""Luthier beside others: sides take turns in short slices, each in a process of its own.

    python bench/run.py [CASE …] --data DIR [--pairs 5] [--only SIDE,SIDE] [--no-parity] [--peer PYTHON] [--list]

DIR holds folders of public data: dolly_en/train.jsonl, hh_rlhf_harmless/test_sample.jsonl, banking77/train.csv and
test.csv. Without a case, all are run. A slice warms up on a few rows and then does its rows once; the harness counts
tokens and operations from the data and refuses a side that saw other tokens. Prints tables and writes
bench/results/<case>.json; with --only, --rows, or fewer than three pairs, nothing is written.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.case import Case, Inputs, Side
from harness.cases import CASES
from harness.output import ROOT, write_result
from harness.summary import show, summary
from harness.turns import process, progress, take_turns

FEWEST = 3
"""Turns that a result needs to be written."""


def main() -> None:
    """The cases that are asked for, one after the other."""
    asked = options().parse_args()
    unknown = [name for name in asked.cases if name not in CASES]
    if unknown or asked.list:
        print("\n".join(f"{name:<12} {case.title}: {' | '.join(s.name for s in case.sides)}"
                        for name, case in CASES.items()))  # fmt: skip
        sys.exit(f"no such case: {', '.join(unknown)}" if unknown else 0)
    for name in asked.cases or CASES:
        with tempfile.TemporaryDirectory() as scratch:
            result = one(CASES[name], asked, Inputs(asked.data, ROOT / ".cache-bench", Path(scratch), asked.threads))
        print(show(result), flush=True)
        if asked.only is None and asked.rows is None and asked.pairs >= FEWEST:
            write_result(name, result)


def options() -> argparse.ArgumentParser:
    """What may be asked for."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("cases", nargs="*", metavar="CASE")
    found.add_argument("--data", type=Path, help="the folder of public data")
    found.add_argument("--pairs", type=int, default=5, help="turns")
    found.add_argument("--only", help="sides, each by a part of its name, between commas; `parity` for parity alone")
    found.add_argument("--rows", type=int, help="rows of every slice, for a quick look")
    found.add_argument("--no-parity", action="store_true")
    found.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of the peers")
    found.add_argument("--peer", default=str(ROOT / ".venv-peer" / "bin" / "python"))
    found.add_argument("--list", action="store_true", help="name the cases and their sides")
    return found


def one(case: Case, asked: argparse.Namespace, inputs: Inputs) -> dict[str, Any]:
    """Parity, then turns."""
    parity: dict[str, Any] = {}
    if case.parity is not None and not asked.no_parity:
        parity = process("parity.py", case.parity(inputs), sys.executable)
        progress(f"{case.name} parity: " + ", ".join(f"{name} {value:.4g}" for name, value in parity.items()))
    turns = take_turns(case, chosen(case, asked.only, asked.rows), inputs, asked.pairs, asked.peer)
    return summary(case, turns, parity)


def chosen(case: Case, only: str | None, rows: int | None) -> list[Side]:
    """The sides that are asked for, Luthier first."""
    parts = None if only is None else [part.strip().lower() for part in only.split(",")]
    found = [side for side in case.sides if parts is None or any(part in side.name.lower() for part in parts)]
    return found if rows is None else [replace(side, rows=rows) for side in found]


if __name__ == "__main__":
    main()
