"""Write docs/benchmarks.md from bench/results/*.json, so that no figure on the page was typed by hand.

python bench/page.py
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
HEAD = """# Benchmarks

Each figure comes from a program in `bench/`, which prints a table and writes `bench/results/*.json`; this page is
written from those files by `python bench/page.py`. They were measured on two cores of a shared machine whose speed
changes within minutes, so beside absolute times stands the speed of a matrix product (float32, 2048 × 2048, both cores)
at that moment, and comparisons take turns in short slices. Peers run in an environment of their own
(`bench/peers/requirements.txt`).
"""


def main() -> None:
    """One section for each result that is there."""
    sections = [section(json.loads((RESULTS / f"{name}.json").read_text())) for name, section in SECTIONS.items()
                if (RESULTS / f"{name}.json").exists()]  # fmt: skip
    (ROOT / "docs" / "benchmarks.md").write_text("\n".join([HEAD, *sections]), encoding="utf-8")


def demo(found: dict[str, Any]) -> str:
    """The two jobs of `luthier demo`."""
    rows = [
        [job["name"], job["verdict"], f"{job['metric']} {span(job['tuned'])}",
         f"{job['best_baseline']}: {span(job['delta'])}", f"{job['fit_seconds']:.0f} s", f"{job['wall_seconds']:.0f} s"]
        for job in found["jobs"]
    ]  # fmt: skip
    return part(
        "The demo",
        "python bench/demo.py",
        table(["job", "verdict", "tuned", "better than the best baseline by", "fit", "whole job"], rows),
        f"The whole of `luthier demo` took {found['seconds']:.0f} s; the report of the first job was there after "
        f"{found['first_light_seconds']:.0f} s. GEMM {gemms(found['gemm_gflops'])}.",
    )


def classify(found: dict[str, Any]) -> str:
    """An encoder on banking77."""
    lines = []
    if "frozen" in found:
        f = found["frozen"]
        rows = [["Luthier, `adapter: head`", accuracy(f["accuracy"]["value"]), f"{f['fit_seconds']:.1f} s"]]
        rows += [[f"scikit-learn, {name}", accuracy(value), f"{f['peer_fit_seconds'][name]:.1f} s"]
                 for name, value in f["peer_accuracy"].items()]  # fmt: skip
        lines += [
            "Frozen trunk. Logistic regression learns from the same features of the same rows; fits took turns.",
            table(["", "accuracy", "fit, median"], rows),
            f"The features themselves took {f['features_seconds']:.0f} s. GEMM {f['gemm_gflops']:.0f} GFLOP/s.",
        ]
    if "trained" in found:
        t = found["trained"]
        best = max(t["peer_accuracy_by_epoch"])
        rows = [
            ["Luthier, `adapter: full`", accuracy(t["accuracy"]["value"]), f"{t['seconds']:.0f} s"],
            ["HF Trainer, its best epoch", accuracy(best), f"{t['peer_seconds']:.0f} s"],
        ]
        lines += [
            "Trained trunk: whole fits, features for the first head included.",
            table(["", "accuracy", "fit"], rows),
            f"Rows a second in {len(t['speed_ratios'])} pairs of slices: Luthier is {t['speed_ratio']:.2f} times as "
            f"fast. GEMM {gemms(t['gemm_gflops'])}.",
        ]
    return part("Classification: banking77, all-minilm-l6-v2", "python bench/classify.py --data banking77/", *lines)


def sft(found: dict[str, Any]) -> str:
    """LoRA beside TRL."""
    rows = [
        [name, f"{side['tokens_per_second']:.0f}", f"{side['gemm_gflops']:.0f}",
         f"{side['peak_memory_bytes'] / 1e9:.1f} GB", f"{side['ratio']:.2f} ×"]
        for name, side in found["sides"].items()
    ]  # fmt: skip
    parity = found["parity"]
    return part(
        "LoRA: SmolLM2-135M on rows of dolly",
        "python bench/sft.py --data dolly.jsonl",
        table(["", "tokens of data/s", "GEMM GFLOP/s", "peak memory", "Luthier is"], rows),
        f"Medians of {found['pairs']} turns. Parity with plain transformers and PEFT, row by row: loss "
        f"{parity['loss']:.7f} and {parity['eager_loss']:.7f}; the gradients differ "
        f"by {parity['gradient_distance']:.1e} of their length.",
    )


def dpo(found: dict[str, Any]) -> str:
    """DPO beside TRL."""
    rows = [
        [name, f"{side['pairs_per_second']:.3f}", f"{side['gemm_gflops']:.0f}",
         f"{side['peak_memory_bytes'] / 1e9:.1f} GB", f"{side['ratio']:.2f} ×"]
        for name, side in found["sides"].items()
    ]  # fmt: skip
    parity = found["parity"]
    return part(
        "DPO with LoRA: SmolLM2-135M on pairs of hh-rlhf",
        "python bench/dpo.py --data hh-rlhf.jsonl",
        table(["", "pairs/s", "GEMM GFLOP/s", "peak memory", "Luthier is"], rows),
        f"Medians of {found['pairs']} turns; the pass for the policy at step 0 counts, as in a fit of one epoch. The "
        f"first loss was {parity['first_loss']:.7f}. Parity with plain transformers and PEFT, row by row, away from "
        f"step 0: loss {parity['loss']:.7f} and {parity['eager_loss']:.7f}; the gradients differ by "
        f"{parity['gradient_distance']:.1e} of their length.",
    )


def dolly(found: dict[str, Any]) -> str:
    """Whether the held-out likelihood of a real instruction set gets better."""
    return part(
        "LoRA on dolly: does it get better?",
        "python bench/dolly.py --data dolly.jsonl",
        f"{found['steps']} steps of {found['batch_size']} rows: held-out nats per token of the answers fell from "
        f"{found['base']['value']:.4f} to {found['tuned']['value']:.4f}, by {span(found['delta'])} "
        f"(n = {found['delta']['n']} rows), at {found['tokens_per_second']:.0f} tokens/s with GEMM "
        f"{gemms(found['gemm_gflops'])}.",
    )


def rl(found: dict[str, Any]) -> str:
    """Whether a model earns more after it has learnt from rewards."""
    rows = [
        [name, f"{run['steps']:.0f}", f"{run['curves']['reward'][0][1]:.2f} → {run['curves']['reward'][-1][1]:.2f}",
         span(run["base"]), span(run["tuned"]), span(run["delta"]), f"{run['seconds']:.0f} s"]
        for name, run in found.items()
    ]  # fmt: skip
    first = next(iter(found.values()))
    return part(
        "Learning from rewards: SmolLM2-135M calls reviews positive or negative",
        "python bench/rl.py",
        table(["objective", "steps", "sampled answers earn", "held out, base", "tuned", "better by", "fit"], rows),
        f"{first['settings']['prompts']} prompts a step, {first['settings']['generations']} answers each of at most 16 "
        "tokens; an answer earns 1 where it names the right word and not the other. Held out: greedy answers to "
        f"{first['base']['n']} reviews in phrases that no training row has. GEMM before and after: "
        + "; ".join(f"{name} {gemms(run['gemm_gflops'])}" for name, run in found.items())
        + ".",
    )


def resume(found: dict[str, Any]) -> str:
    """SIGKILL at random moments."""
    runs = found["runs"]
    kills = sum(run["kills"] for run in runs)
    same = sum(run["kills"] for run in runs if run["weights_equal"] and run["optimizer_equal"])
    single = sum(run["versions"] == 1 for run in runs)
    return part(
        "Killed and resumed",
        "make prove-resume",
        f"{kills} SIGKILLs at random moments of {len(runs)} LoRA runs. Of these kills {same} were followed by weights "
        f"and optimizer state equal, bit for bit, to those of an undisturbed run; {single} of {len(runs)} runs left "
        "exactly one registered version.",
    )


def shuffled(found: dict[str, Any]) -> str:
    """What the gate says where there is nothing to learn."""
    return part(
        "Labels shuffled",
        "python bench/shuffled.py",
        f"With the labels shuffled among the rows there is nothing to learn. The verdict was `hold` in "
        f"{found['seeds'] - found['false_ship']} of {found['seeds']} seeds.",
    )


def startup(found: dict[str, Any]) -> str:
    """What a person waits for."""
    rows = [[f"`{name}`", f"{row['median']:.2f} s", f"{row['high']:.2f} s"] for name, row in found["commands"].items()]
    return part("Start", "python bench/startup.py", table(["command", "median", "slowest of five"], rows))


SECTIONS: dict[str, Callable[[dict[str, Any]], str]] = {
    "demo": demo, "classify": classify, "dolly": dolly, "sft": sft, "dpo": dpo, "rl": rl, "resume": resume,
    "shuffled": shuffled,
    "startup": startup,
}  # fmt: skip


def part(title: str, command: str, *lines: str) -> str:
    """A section: its title, the command, and what was found."""
    return "\n\n".join([f"## {title}", f"```console\n$ {command}\n```", *lines]) + "\n"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


def span(value: dict[str, Any]) -> str:
    """A value with its interval."""
    return f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"


def accuracy(value: float) -> str:
    """A share in per cent."""
    return f"{100 * value:.2f} %"


def gemms(values: list[float]) -> str:
    """The speed of the machine before, between and after."""
    return f"{', '.join(f'{value:.0f}' for value in values)} GFLOP/s"


if __name__ == "__main__":
    main()
