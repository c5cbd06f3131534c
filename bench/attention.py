"""Attention within one segment on a CPU: as matrix products by blocks of queries, beside PyTorch's kernel.

    python bench/attention.py [--turns 15]

Forward and backward of causal attention of SmolLM2-135M's shape (9 heads, 3 of keys, width 64) on one thread, as each
lane of a fit does it; both sides in turns in one process. Prints milliseconds and their ratio (medians), and how far
outputs and gradients of both are from attention written out in float64; writes bench/results/attention.json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from luthier.engine.allocator import keep_pages

keep_pages()

import torch  # noqa: E402
from harness.machine import gemm  # noqa: E402
from harness.output import plain_table, write_result  # noqa: E402
from torch import Tensor  # noqa: E402

from luthier.models import attention_blocks, attention_cpu  # noqa: E402
from luthier.models.visible import Part  # noqa: E402

HEADS, SHARED, WIDTH = 9, 3, 64
LENGTHS = (64, 128, 192, 256, 384, 512, 768, 1024, 2048)
SIDES = {"blocks": lambda part, query: True, "kernel": lambda part, query: False}
WARM = 3


def main() -> int:
    """Measure, print and write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--turns", type=int, default=15)
    turns = options.parse_args().turns
    before = gemm()
    torch.set_num_threads(1)
    rows = [row_of(length, turns) for length in LENGTHS]
    print(plain_table(["tokens", "blocks ms", "kernel ms", "blocks are", "taken", "blocks off", "kernel off"],
                      [shown(row) for row in rows]))  # fmt: skip
    torch.set_num_threads(2)
    write_result("attention", {"turns": turns, "gemm_gflops": [before, gemm()], "lengths": rows})
    return 0


def row_of(length: int, turns: int) -> dict[str, Any]:
    """Seconds of both sides in turns, and their distance from float64."""
    torch.manual_seed(length)
    states = [torch.randn(1, length, heads, WIDTH).transpose(1, 2) for heads in (HEADS, SHARED, SHARED)]
    grad = torch.randn(1, length, HEADS, WIDTH)
    part = Part(0, length, [(0, length)], length, True, None)
    chosen = attention_blocks.suits(part, states[0])
    exact = written_out([each.double() for each in states], grad.double())
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    found: dict[str, Any] = {"tokens": length, "chosen": "blocks" if chosen else "kernel", "distance": {}}
    for turn in range(WARM + turns):
        for name, suits in SIDES.items():
            attention_blocks.suits = suits
            start = time.perf_counter()
            got = once(states, grad, part)
            if turn >= WARM:
                seconds[name].append(time.perf_counter() - start)
            found["distance"][name] = max(distance(a, b) for a, b in zip(got, exact, strict=True))
    pairs = zip(seconds["kernel"], seconds["blocks"], strict=True)
    found["seconds"] = {name: statistics.median(values) for name, values in seconds.items()}
    return found | {"ratio": statistics.median(kernel / blocks for kernel, blocks in pairs)}


def once(states: Sequence[Tensor], grad: Tensor, part: Part) -> list[Tensor]:
    """What is read, and the gradients of queries, keys and values."""
    own = [each.detach().requires_grad_() for each in states]
    out = attention_cpu.attend(*own, [part], None)
    return [out.detach(), *torch.autograd.grad(out, own, grad)]


def written_out(states: Sequence[Tensor], grad: Tensor) -> list[Tensor]:
    """The same in one piece."""
    own = [each.detach().requires_grad_() for each in states]
    query, key, value = own[0], *(each.repeat_interleave(HEADS // SHARED, 1) for each in own[1:])
    hidden = torch.ones(query.shape[2], query.shape[2], dtype=torch.bool).triu(1)
    scores = (query @ key.mT * WIDTH**-0.5).masked_fill(hidden, -torch.inf)
    out = (scores.softmax(-1) @ value).transpose(1, 2)
    return [out.detach(), *torch.autograd.grad(out, own, grad)]


def distance(one: Tensor, exact: Tensor) -> float:
    """Of two tensors, over the length of the exact one."""
    return float((one.double() - exact).norm() / exact.norm())


def shown(row: dict[str, Any]) -> list[str]:
    """A length's row of the table."""
    ms = [f"{1e3 * row['seconds'][name]:.2f}" for name in SIDES]
    off = [f"{row['distance'][name]:.1e}" for name in SIDES]
    return [str(row["tokens"]), *ms, f"{row['ratio']:.2f} x", row["chosen"], *off]


if __name__ == "__main__":
    sys.exit(main())
