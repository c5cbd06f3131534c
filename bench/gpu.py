"""Steps on one GPU beside others, and one step of a 70B-shaped model in NF4.

    python bench/gpu.py [--only TEXT] [--steps 10] [--peer PYTHON]

Models have the shape of known ones and random weights; nothing is downloaded. A step has 16 384 tokens in rows of
2 048, 4 096 or 8 192. Each side runs in a process of its own; one whose package is missing from the peer environment is
said to be missing. axolotl and torchtune take whole jobs with files of their own; they are named where they are
installed, and not timed. Prints seconds, tokens a second, the share of the card's peak (MFU) and memory; writes
bench/results/gpu.json. Ends with code 2 where there is no GPU.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness.gpu import LARGE, SHAPES, STEPS, Step, again, mfu, peak_tflops, step_flop, write_folder
from harness.output import ROOT, plain_table, write_result
from harness.turns import Failed, process, progress

SIDES = {"Luthier": ("luthier_gpu.py", None), "TRL": ("trl_gpu.py", "trl"), "Unsloth": ("trl_gpu.py", "unsloth")}
"""Name → its program, and the package that the peer environment must have; None: it runs in this one."""
UNTIMED = ("axolotl", "torchtune")
WARM = 3
NO_GPU = (
    "bench/gpu.py measures training steps on an NVIDIA GPU, and torch finds none on this machine, so nothing was "
    "measured and bench/results/gpu.json was left as it is. On a machine with a GPU, install torch with CUDA and run "
    "it again."
)


def main() -> None:
    """All steps that are asked for, in the order of the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", default="", help="steps whose name has this text, such as `1B, lora, 4096`")
    options.add_argument("--steps", type=int, default=10)
    options.add_argument("--peer", default=str(ROOT / ".venv-peer" / "bin" / "python"))
    asked = options.parse_args()
    import torch

    if not torch.cuda.is_available():
        print(NO_GPU, file=sys.stderr)
        sys.exit(2)
    card = torch.cuda.get_device_name()
    peak = peak_tflops(card)
    found: dict[str, Any] = {"card": card, "peak_tflops": peak, "torch": torch.__version__, "steps": {}, "missing": []}
    sides, found["missing"] = present(asked.peer)
    with tempfile.TemporaryDirectory() as scratch:
        for step in [step for step in STEPS if asked.only in step.name]:
            found["steps"][step.name] = one(step, sides, asked, Path(scratch), peak)
        if asked.only in f"{LARGE}, NF4":
            found["large"] = large(Path(scratch), peak)
    print(show(found))
    if not asked.only:
        write_result("gpu", found)


def present(peer: str) -> tuple[list[str], list[str]]:
    """The sides that can run, and what is said of the others."""
    names, missing = [], []
    for name, (_, package) in SIDES.items():
        if package is None or installed(peer, package):
            names.append(name)
        else:
            missing.append(f"{name} is not installed for {peer}")
    missing += [f"{name} takes whole jobs and is not timed" for name in UNTIMED if installed(peer, name)]
    return names, missing


def installed(python: str, package: str) -> bool:
    """Whether an interpreter finds a package; it is not imported."""
    look = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    try:
        return subprocess.run([python, "-c", look], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def one(step: Step, sides: list[str], asked: Any, scratch: Path, peak: float | None) -> dict[str, Any]:
    """A step by each side; what a side ended with where it failed."""
    shape, folder = SHAPES[step.shape], scratch / step.shape
    if not (folder / "model.safetensors").exists():
        write_folder(shape, folder)
        draw_weights(folder)
    job = {"model": str(folder), "scratch": str(scratch), "trained": step.trained, "length": step.length,
           "rows": step.rows, "warm": WARM, "steps": asked.steps, "recompute": again(shape), "made": False}  # fmt: skip
    flop, results = step_flop(shape, step.trained, step.length, step.rows), {}
    for name in sides:
        program, package = SIDES[name]
        settings = {"settings": {"unsloth": package == "unsloth"}}
        try:
            answer = process(program, job | settings, asked.peer if package else sys.executable)
        except Failed as error:
            results[name] = {"failed": str(error)}
        else:
            results[name] = told(answer, flop, step.length * step.rows, peak)
        progress(f"{step.name}: {name} {results[name]}")
    return results


def told(answer: dict[str, Any], flop: float, tokens: int, peak: float | None) -> dict[str, Any]:
    """Seconds and memory, with what follows from them."""
    seconds = answer["seconds"]
    share = None if peak is None else mfu(flop, seconds, peak)
    return {**answer, "tokens_per_second": tokens / seconds, "tflops": flop / seconds / 1e12, "mfu": share}


def draw_weights(folder: Path) -> None:
    """Random weights in bfloat16, as transformers draws and writes them."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="100GB")


def large(scratch: Path, peak: float | None) -> dict[str, Any]:
    """One step of 2 048 tokens of a model that no card holds in sixteen bits, drawn layer by layer in NF4."""
    import torch
    from safetensors.torch import save_file

    shape, folder = SHAPES[LARGE], scratch / LARGE
    write_folder(shape, folder)
    save_file({"model.norm.weight": torch.ones(1)}, folder / "model.safetensors")  # what is looked for, and never read
    job = {"model": str(folder), "scratch": str(scratch), "trained": "lora", "length": 2048, "rows": 1, "warm": 1,
           "steps": 1, "recompute": True, "made": True}  # fmt: skip
    try:
        return told(process("luthier_gpu.py", job, sys.executable), step_flop(shape, "lora", 2048, 1), 2048, peak)
    except Failed as error:
        return {"failed": str(error)}


def show(found: dict[str, Any]) -> str:
    """The table."""
    named = dict(found["steps"]) | ({f"{LARGE}, NF4": {"Luthier": found["large"]}} if "large" in found else {})
    rows = [[step, side, *cells(result)] for step, sides in named.items() for side, result in sides.items()]
    head = ["step", "side", "seconds", "tokens/s", "MFU", "memory"]
    return "\n".join([found["card"], plain_table(head, rows), *found["missing"]])


def cells(result: dict[str, Any]) -> list[str]:
    """What a line says of one side."""
    if "failed" in result:
        return ["failed", result["failed"][:60], "", ""]
    share = "" if result["mfu"] is None else f"{100 * result['mfu']:.0f} %"
    return [f"{result['seconds']:.3f}", f"{result['tokens_per_second']:,.0f}", share,
            f"{result['peak_memory_bytes'] / 1e9:.1f} GB"]  # fmt: skip


if __name__ == "__main__":
    main()
