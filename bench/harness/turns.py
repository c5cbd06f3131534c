"""Sides that take turns, each in a process of its own, with the speed of the machine before and after."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from harness.case import Case, Inputs, Side, Task
from harness.count import share_of_ceiling
from harness.machine import gemm
from harness.output import ROOT
from luthier.engine.allocator import preload

Slice = dict[str, Any]


class Failed(Exception):
    """A side's process ended with an error; its last words."""


def take_turns(case: Case, sides: Sequence[Side], inputs: Inputs, pairs: int, peer: str) -> list[dict[str, Slice]]:
    """`pairs` turns of all sides. A side that fails once is left out of the turns after, with its last words."""
    task_of, failed, turns = case.prepare(inputs), dict[str, str](), []
    start, done, planned = time.monotonic(), 0, pairs * len(sides)
    for _ in range(pairs):
        turn: dict[str, Slice] = {}
        for side in sides:
            if side.name not in failed:
                try:
                    turn[side.name] = one_slice(case, side, task_of(side), peer)
                except Failed as error:
                    failed[side.name] = str(error)
                    turn[side.name] = {"failed": str(error)}
            done += 1
            left = (time.monotonic() - start) / done * (planned - done)
            progress(f"{case.name} {done}/{planned}  {describe(case, side, turn.get(side.name))}  {left:.0f} s left")
        turns.append(turn)
    return turns


def one_slice(case: Case, side: Side, task: Task, peer: str) -> Slice:
    """One process: its rate, its share of the matrix product's speed, and its memory."""
    before = gemm()
    answer = process(side.program, task.job | {"settings": dict(side.settings)}, python_of(side, peer))
    gflops = (before + gemm()) / 2
    if task.digest and answer.get("digest") != task.digest:
        raise Failed(f"saw other tokens than the {task.amount.rows} rows have: its speed would not compare")
    seconds = answer["seconds"]
    return {
        "rate": task.amount.of(case.unit) / seconds, "seconds": seconds, "rows": task.amount.rows,
        "tokens": task.amount.tokens, "gemm_gflops": gflops,
        "share": share_of_ceiling(task.amount.flop, seconds, gflops),
        **{key: value for key, value in answer.items() if key not in ("seconds", "digest")},
    }  # fmt: skip


def python_of(side: Side, peer: str) -> str:
    """The interpreter of a side's environment."""
    return peer if side.environment == "peer" else sys.executable


def process(program: str, job: dict[str, Any], python: str) -> dict[str, Any]:
    """Run bench/sides/`program` with `job` on stdin; the JSON of its last line. Raises Failed."""
    paths = [str(ROOT / "bench"), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "HF_HUB_OFFLINE": "1",
                                "TOKENIZERS_PARALLELISM": "true"}  # fmt: skip
    if python == sys.executable:
        environment |= preload()
    else:
        environment["PYTHONPATH"] = str(ROOT / "bench")
    command = [python, str(ROOT / "bench" / "sides" / program)]
    out = subprocess.run(command, input=json.dumps(job), cwd=ROOT, env=environment, text=True, capture_output=True,
                         check=False)  # fmt: skip
    if out.returncode:
        progress(out.stderr[-3000:])
        raise Failed(last_words(out.returncode, out.stderr))
    return json.loads(out.stdout.strip().splitlines()[-1])


def last_words(code: int, stderr: str) -> str:
    """Why a process ended: the last line it wrote, or the signal that killed it."""
    if code == -signal.SIGKILL:
        return "killed, as happens where memory runs out"
    return (stderr.strip().splitlines() or [f"ended with code {code}"])[-1][:300]


def describe(case: Case, side: Side, found: Slice | None) -> str:
    """One slice in a few words."""
    if found is None or "failed" in found:
        return f"{side.name}: {'failed: ' + found['failed'] if found else 'left out'}"
    rate = f"{found['seconds']:.2f} s" if case.unit == "start" else f"{found['rate']:.4g} {case.unit}/s"
    return f"{side.name}: {rate}, gemm {found['gemm_gflops']:.0f}, {found['seconds']:.0f} s"


def progress(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr, flush=True)
