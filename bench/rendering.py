"""Rows a second from chats to token ids, cold and cached, and from token ids to packs.

    python bench/rendering.py --data dolly.jsonl [--rounds 5]

`--data` is a file of instructions with answers. In turns: `tokenizers` alone on the rendered texts, rendering with it,
and, where it is installed, rendering with fastokens; then the cached rows, and their packs in shuffled order. Prints
a table and writes bench/results/rendering.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demo import gemm

from luthier.data.pipeline import prepare
from luthier.data.render import Renderer, render_cached
from luthier.models.locate import locate
from luthier.recipe import from_mapping

ROOT = Path(__file__).resolve().parents[1]
MODEL = "smollm2-135m-instruct"
BUDGET_TOKENS, STEP_ROWS = 1024, 16


def main() -> None:
    """Measure, print and write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--models", type=Path, help="a folder in which the converted base is kept")
    asked = options.parse_args()
    result = measure(asked.data, asked.rounds, asked.models)
    for name, speed in result["rows_per_second"].items():
        print(f"{name:42} {speed:10,.0f} rows/s")
    print(f"{result['rows']:,} rows, {result['tokens']:,} tokens; GEMM {result['gemm_gflops']:.0f} GFLOP/s")
    (ROOT / "bench" / "results" / "rendering.json").write_text(json.dumps(result, indent=1) + "\n")


def measure(data: Path, rounds: int, models: Path | None = None) -> dict[str, Any]:
    """Medians over rounds of turns, with the speed of the machine."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = locate(MODEL, models or Path(scratch)).folder
        rows = prepare(from_mapping({"base_model": MODEL, "data": str(data.resolve())}), Path()).splits["train"]
        plain, quick = Renderer.from_folder(folder), Renderer.from_folder(folder)
        found = plain.rows(rows, sequence_len=None)
        texts = [plain.tokens.tokenizer.decode(found.row(i)[0].tolist(), skip_special_tokens=False)
                 for i in range(len(found))]  # fmt: skip
        plain._quick = None
        cases: dict[str, Callable[[], object]] = {
            "tokenizers alone": lambda: plain.tokens.encode(texts),
            "rendered cold, with tokenizers": lambda: plain.rows(rows, sequence_len=None),
        }
        if quick._quick is not None:
            cases["rendered cold, with fastokens"] = lambda: quick.rows(rows, sequence_len=None)
            same = quick.rows(rows, sequence_len=None)
            assert (same.ids == found.ids).all()
            assert (same.weights == found.weights).all()
        render_cached(plain, rows, Path(scratch), sequence_len=None)
        cases["rendered from the cache"] = lambda: render_cached(plain, rows, Path(scratch), sequence_len=None)
        cases["packed"] = lambda: packs(found)
        before = gemm()
        seconds = {name: [] for name in cases}
        for _ in range(rounds):
            for name, case in cases.items():
                start = time.perf_counter()
                case()
                seconds[name].append(time.perf_counter() - start)
    speeds = {name: len(rows) / statistics.median(each) for name, each in seconds.items()}
    return {"rows": len(rows), "tokens": found.report.tokens, "gemm_gflops": (before + gemm()) / 2,
            "rows_per_second": speeds}  # fmt: skip


def packs(rows: Any) -> None:
    """An epoch in micro-batches."""
    from luthier.data.stream import Stream, packed

    make = packed(rows, BUDGET_TOKENS, share_prefix=True, lanes=2)
    stream = Stream(make, len(rows), STEP_ROWS, len(rows))
    for step in range(-(-len(rows) // STEP_ROWS)):
        stream.take(step)


if __name__ == "__main__":
    main()
