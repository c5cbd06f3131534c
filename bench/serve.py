"""The gateway beside the engine that it stands before, and engines beside their bare selves.

    python bench/serve.py [--only gateway batching adapters] [--pairs 5] [--models FOLDER]

gateway    tokens a second through the gateway over llama.cpp, and of xllamacpp called in a process of its own with the
           same prompts, at 1, 4 and 16 clients in turns; and how much later the first token comes. xllamacpp has the
           places of the gateway's engine, each as long as the model's context; `wide` has 16 short ones
batching   tokens a second of the torch engine with 8 clients, and of transformers.generate with one prompt at a time
adapters   memory of the torch engine's process with 0, 1 and 4 adapters on one base

Prints a table and writes bench/results/serve.json; parts that were not asked for stay as they were.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

from harness.clients import Slice, question, streams
from harness.machine import gemm
from harness.output import plain_table, read_result, write_result
from harness.service import MODEL, home_of, packaged_gguf, serving, standing
from harness.turns import progress

from luthier.data.render import Renderer
from luthier.models.export.gguf_header import read_header
from luthier.models.locate import locate
from luthier.serve.engines.llama_cpp import MEMORY_BYTES, Header

THREADS = 2
CLIENTS = (1, 4, 16)
TOKENS = 32
"""Of an answer, at most."""
ANSWERS = {1: 5, 4: 8, 16: 16, 8: 8}
"""In a slice with so many clients."""
TURNS, ASKED, ASKED_TOKENS = 20, 6, 4
"""For the time of the first token: turns of a single client, answers in each, and tokens of these."""
SHORT = 1024
"""Tokens of a place where there are many."""
Part = dict[str, Any]
Ask = Callable[[Part], Any]


def main() -> None:
    """Measure what was asked for, print and write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    options.add_argument("--pairs", type=int, default=5)
    options.add_argument("--models", type=Path, help="a folder in which the converted base is kept")
    asked = options.parse_args()
    result = read_result("serve")
    for name in asked.only:
        with home_of(asked.models) as home:
            before = gemm()
            result[name] = PARTS[name](home, asked.pairs)
            result[name]["gemm_gflops"] = (before + gemm()) / 2
            write_result("serve", result)
        print(plain_table(*TABLES[name](result[name])), end="\n\n")


def gateway(home: Path, pairs: int) -> Part:
    """Through the gateway and without it, by the number of clients."""
    gguf, numbers = packaged_gguf(), count()
    renderer = Renderer.from_folder(locate(MODEL, home / "cache" / "models").folder)
    places, context = Header(read_header(Path(gguf))).places(8 * MEMORY_BYTES // 16)
    bare = {"gguf": gguf, "threads": THREADS, "places": places, "context": places * context}
    wide = bare | {"places": max(CLIENTS), "context": max(CLIENTS) * SHORT}
    with (
        serving(home, MODEL, "--engine", "llama_cpp") as service,
        standing("bare_llama.py", bare) as ask,
        standing("bare_llama.py", wide) as ask_wide,
    ):

        def through(clients: int, answers: int = 0, tokens: int = TOKENS) -> Slice:
            mine = [next(numbers) for _ in range(answers or ANSWERS[clients])]
            return asyncio.run(streams(service.url, MODEL, mine, clients, tokens))

        def without(clients: int, answers: int = 0, tokens: int = TOKENS, how: Ask = ask) -> Slice:
            prompts = [prompt(renderer, next(numbers)) for _ in range(answers or ANSWERS[clients])]
            return Slice(**how({"prompts": prompts, "tokens": tokens, "clients": clients}))

        for side in (through, without, partial(without, how=ask_wide)):
            side(1)
        first = later(partial(through, 1, ASKED, ASKED_TOKENS), partial(without, 1, ASKED, ASKED_TOKENS))
        found = [{"clients": n, **beside(through, without, n, pairs)} for n in CLIENTS]
        beyond = beside(through, partial(without, how=ask_wide), max(CLIENTS), pairs)
        return {
            "pairs": pairs,
            "places": places,
            "first": first,
            "clients": found,
            "wide": {"clients": max(CLIENTS), **beyond},
        }


def beside(through: Callable[[int], Slice], without: Callable[[int], Slice], clients: int, pairs: int) -> Part:
    """Medians over slices in turns; the order within a pair changes, so that neither side always comes second."""
    ratios, added, rates = [], [], []
    for pair in range(pairs):
        order = (through, without) if pair % 2 else (without, through)
        found = {side: side(clients) for side in order}
        first, second = found[through], found[without]
        ratios.append(first.rate / second.rate)
        added.append(statistics.median(first.first_ms) - statistics.median(second.first_ms))
        rates.append((first.rate, second.rate))
        progress(f"{clients} clients: {first.rate:.1f} and {second.rate:.1f} tokens/s, first token {added[-1]:+.1f} ms")
    return {
        "ratio": statistics.median(ratios), "ratios": ratios, "added_first_ms": statistics.median(added),
        "added": added, "gateway_rate": statistics.median(rate for rate, _ in rates),
        "bare_rate": statistics.median(rate for _, rate in rates),
    }  # fmt: skip


def later(through: Callable[[], Slice], without: Callable[[], Slice]) -> Part:
    """How much later the first token comes to a client who asks alone: medians over all answers, each side by turns."""
    turns = [(through().first_ms, without().first_ms) for _ in range(TURNS)]
    gateway_ms, bare_ms = (statistics.median(chain.from_iterable(side)) for side in zip(*turns, strict=True))
    progress(f"first token after {gateway_ms:.1f} and {bare_ms:.1f} ms")
    return {"answers": TURNS * ASKED, "gateway_ms": gateway_ms, "bare_ms": bare_ms}


def batching(home: Path, pairs: int) -> Part:
    """The torch engine's answers to many at once, beside a plain loop."""
    folder, numbers = locate(MODEL, home / "cache" / "models").folder, count()
    renderer = Renderer.from_folder(folder)
    plain = {"folder": str(folder), "threads": THREADS}
    with serving(home, MODEL, "--engine", "torch") as service, standing("hf_generate.py", plain) as ask:
        ratios, rates = [], []
        for pair in range(-1, pairs):  # the first one warms up
            mine = [next(numbers) for _ in range(ANSWERS[8])]
            many = asyncio.run(streams(service.url, MODEL, mine, 8, TOKENS))
            prompts = [prompt(renderer, next(numbers)) for _ in range(2)]
            one = Slice(**ask({"prompts": prompts, "tokens": TOKENS, "eos": list(renderer.eos_ids)}))
            progress(f"8 clients {many.rate:.1f} tokens/s, generate {one.rate:.1f} tokens/s")
            if pair >= 0:
                ratios.append(many.rate / one.rate)
                rates.append((many.rate, one.rate))
        return {
            "pairs": pairs, "clients": 8, "ratio": statistics.median(ratios), "ratios": ratios,
            "engine_rate": statistics.median(rate for rate, _ in rates),
            "generate_rate": statistics.median(rate for _, rate in rates),
        }  # fmt: skip


def adapters(home: Path, pairs: int) -> Part:
    """Memory after answers of the base alone, of one adapter, and of four."""
    made, size = write_adapters(home, 4)
    folder = str(locate(MODEL, home / "cache" / "models").folder)
    weights = sum(file.stat().st_size for file in Path(folder).glob("*.safetensors"))
    held = asyncio.run(held_by({"engine": "torch", "base": folder, "name": MODEL}, made, home))
    return {"adapter_bytes": size, "base_bytes": weights, "held_bytes": held}


async def held_by(spec: Part, made: Sequence[Path], home: Path) -> dict[str, int]:
    """Bytes of the engine's process with so many adapters, each of which has answered."""
    import os

    import psutil

    from luthier.serve.engines.engine import Ask
    from luthier.serve.engines.remote import Remote

    os.environ["LUTHIER_HOME"] = str(home)
    renderer = Renderer.from_folder(Path(spec["base"]))
    remote, held = await Remote.open(spec), {}
    engine = psutil.Process().children(recursive=True)[0]
    try:
        for number in range(len(made) + 1):
            if number:
                await remote.load(f"a{number}", made[number - 1])
            ask = Ask("", prompt(renderer, number), 8, adapter=f"a{number}" if number else None, temperature=0)
            answer = await remote.complete(ask)
            assert answer.finish in ("stop", "length"), answer.error
            if number in (0, 1, len(made)):
                held[str(number)] = int(engine.memory_info().rss)
    finally:
        await remote.close()
    return held


def write_adapters(home: Path, number: int) -> tuple[list[Path], int]:
    """So many LoRA adapters of rank 16 on all linear layers, and the bytes of one."""
    from luthier.models.load import make_policy, save_policy
    from luthier.recipe import Adapter

    files, made = locate(MODEL, home / "cache" / "models"), []
    for seed in range(number):
        policy = make_policy(files, Adapter(type="lora", lora_r=16), seed=seed)
        made.append(home / f"adapter-{seed}")
        save_policy(policy, made[-1], files)
    return made, sum(file.stat().st_size for file in made[0].glob("*.safetensors"))


def prompt(renderer: Renderer, number: int) -> list[int]:
    """The token ids that the gateway makes of a question."""
    return list(renderer.prompt([{"role": "user", "content": question(number)}]))


PARTS: dict[str, Callable[[Path, int], Part]] = {"gateway": gateway, "batching": batching, "adapters": adapters}
Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def gateway_table(part: Part) -> Table:
    head = ["clients", "gateway tokens/s", "bare tokens/s", "ratio", "first token later by"]
    rows = [(str(row["clients"]), row) for row in part["clients"]] + [("16, wide", part["wide"])]
    return head, [[name, f"{row['gateway_rate']:.1f}", f"{row['bare_rate']:.1f}", f"{row['ratio']:.3f}",
                   f"{row['added_first_ms']:.1f} ms"] for name, row in rows]  # fmt: skip


def batching_table(part: Part) -> Table:
    head = ["", "tokens/s", "times as fast"]
    return head, [["torch engine, 8 clients", f"{part['engine_rate']:.1f}", f"{part['ratio']:.2f}"],
                  ["transformers.generate", f"{part['generate_rate']:.1f}", ""]]  # fmt: skip


def adapters_table(part: Part) -> Table:
    held = part["held_bytes"]
    return ["adapters", "memory of the engine"], [[name, f"{size / 1e6:,.0f} MB"] for name, size in held.items()]


TABLES: dict[str, Callable[[Part], Table]] = {
    "gateway": gateway_table, "batching": batching_table, "adapters": adapters_table,
}  # fmt: skip


if __name__ == "__main__":
    main()
