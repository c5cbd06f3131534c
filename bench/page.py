"""Write docs/benchmarks.md from bench/results/*.json, so that no figure on the page was typed by hand.

python bench/page.py
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine_page import attention, forecasts
from harness.cases import CASES
from harness.markdown import accuracy, gemms, part, span, table, times
from harness.output import ROOT, read_result
from service_page import serve, siege

HEAD = """# Benchmarks

Each figure comes from a program in `bench/`, which prints a table and writes `bench/results/*.json`; this page is
written from those files by `python bench/page.py`. They were measured on two cores of a shared machine whose speed
changes within minutes, so beside absolute times stands the speed of a matrix product (float32, 2048 × 2048, both cores)
at that moment, and comparisons take turns in short slices. Peers run in an environment of their own
(`bench/sides/requirements.txt`).
"""
COMPARED = """## Beside others

Each side works in a process of its own, on the same token ids. A slice warms up on a few rows and then does its rows
once; its clock runs from the beginning of the first step to the end of the last. Tokens, and operations, are counted
from the data and not taken from any side; a side that saw other tokens is refused. Slow sides get fewer rows, drawn so
that their lengths are distributed alike. Luthier runs the recipe as it resolves, with the micro-batches of its own
forecast. Ratios are medians of the ratios within turns; where a cell says 1.50 ×, Luthier was half as fast again.

*Of the ceiling*: the operations that the data needs, over those of the matrix product in the same time. Counted are
2 forward, 2 for the gradient of an input, and 2 for that of a trained matrix, for each weight and token; the output
layer at predicted tokens only; what both answers of a pair share, once; padding, recomputation, attention and adapters
not at all. Luthier computes what rows of a pack begin with in common once, which the count does not know. Memory is the
high-water mark of the process.
"""
NEAR = 1e-4
"""The relative difference from plain PyTorch that is taken for rounding."""


def main() -> None:
    """One section for each result that is there."""
    compared = {name: found for name in CASES if (found := read_result(name))}
    parts = [HEAD, *(SECTIONS[name](found) for name in SECTIONS if (found := read_result(name)))]
    if compared:
        parts += [COMPARED, *map(comparison, compared.values()), behind(compared)]
    (ROOT / "docs" / "benchmarks.md").write_text("\n".join(parts), encoding="utf-8")


def comparison(found: dict[str, Any]) -> str:
    """One case of bench/run.py."""
    unit = found["unit"]
    head = ["", "seconds" if unit == "start" else f"{unit}/s", "of the ceiling", "peak memory", "GEMM GFLOP/s",
            "Luthier is"]  # fmt: skip
    lines = [table(head, [line(name, side, unit) for name, side in found["sides"].items()])]
    turns = f"Medians of {found['turns']} turns."
    lines.append(" ".join(filter(None, [turns, found["remark"], parity(found), agreement(found["sides"])])))
    return part(found["title"], f"python bench/run.py {found['case']} --data DIR", *lines, level=3)


def line(name: str, side: dict[str, Any], unit: str) -> list[str]:
    """A side's row of the table."""
    if "failed" in side:
        return [name, "failed", "", "", "", ""]
    rate, memory = side["rate"], side["peak_memory_bytes"]
    return [
        name, f"{side['seconds']:.2f}" if unit == "start" else f"{rate:.3f}" if rate < 10 else f"{rate:,.0f}",
        f"{100 * side['share']:.0f} %" if side["share"] else "", f"{memory / 1e9:.1f} GB" if memory else "",
        f"{side['gemm_gflops']:.0f}", "" if side["ratio"] == 1 else times(side["ratio"]),
    ]  # fmt: skip


def parity(found: dict[str, Any]) -> str:
    """How far loss and gradient are from those of plain PyTorch."""
    p = found["parity"]
    if not p:
        return ""
    return (f"Beside plain transformers and PEFT, {p['rows']} rows one by one: loss {p['loss']:.6f} and "
            f"{p['eager_loss']:.6f}, gradient norm {p['gradient_norm']:.6f} and {p['eager_gradient_norm']:.6f}; the "
            f"gradients differ by {p['gradient_distance']:.1e} of their length.")  # fmt: skip


def agreement(sides: dict[str, Any]) -> str:
    """How far the sides found the same."""
    equal = [f"{100 * side['equal_answers']:.0f} % ({name})" for name, side in sides.items() if "equal_answers" in side]
    likely = [side["nll_difference"] for side in sides.values() if "nll_difference" in side]
    return " ".join([
        *([f"Answers equal to Luthier's, token by token: {', '.join(equal)}."] if equal else []),
        *([f"Likelihoods of a row differ by {max(likely):.1e} at most."] if likely else []),
    ])  # fmt: skip


def behind(compared: dict[str, dict[str, Any]]) -> str:
    """Where another side is faster or takes less memory, where parity is missed, and what did not run."""
    lines = []
    for found in compared.values():
        own = next(iter(found["sides"].values()))
        for name, side in found["sides"].items():
            if "failed" in side:
                lines.append(f"{found['title']}: {name} did not run ({side['failed']}).")
            elif side["ratio"] is not None and side["ratio"] < 1:
                lines.append(f"{found['title']}: {name} is {1 / side['ratio']:.2f} times as fast.")
            if 0 < side.get("peak_memory_bytes", 0) < own.get("peak_memory_bytes", 0):
                lines.append(f"{found['title']}: {name} takes {side['peak_memory_bytes'] / 1e9:.2f} GB, Luthier "
                             f"{own['peak_memory_bytes'] / 1e9:.2f} GB.")  # fmt: skip
        far = {key: value for key, value in found["parity"].items() if key.endswith(MEASURES) and value > NEAR}
        lines += [f"{found['title']}: {key.replace('_', ' ')} {value:.1e}." for key, value in far.items()]
    return "\n".join(["### Where Luthier is behind", "", *([f"- {text}" for text in lines] or ["Nowhere above."]), ""])


MEASURES = ("_difference", "_distance")


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
    """How good an encoder gets on banking77."""
    rows, gemm, whole = [], [], ""
    if "frozen" in found:
        f = found["frozen"]
        whole = (
            f"The whole run of the head, in a home without cached features: {f['job_seconds']:.0f} s of work with the "
            f"evaluation of the base and of itself, {f['whole_seconds']:.0f} s from the command to its end; an epoch "
            f"after the first takes {f['later_epoch_seconds']:.2f} s. "
        )
        rows.append(["Luthier, `adapter: head`", accuracy(f["accuracy"]["value"]), f"{f['seconds']:.0f} s"])
        rows += [[f"scikit-learn on the same features, {name}", accuracy(value), ""]
                 for name, value in f["peer_accuracy"].items()]  # fmt: skip
        gemm.append(f["gemm_gflops"])
    if "trained" in found:
        t = found["trained"]
        rows.append(["Luthier, `adapter: full`", accuracy(t["accuracy"]["value"]), f"{t['seconds']:.0f} s"])
        best = max(t["peer_accuracy_by_epoch"])
        rows.append(["HF Trainer, its best epoch", accuracy(best), f"{t['peer_seconds']:.0f} s"])
        gemm += t["gemm_gflops"]
    return part(
        "Classification: banking77, all-minilm-l6-v2",
        "python bench/classify.py --data DIR",
        table(["", "accuracy", "whole fit"], rows),
        f"Features of the training rows and the first head are in Luthier's seconds. {whole}GEMM {gemms(gemm)}.",
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


def frozen(found: dict[str, Any]) -> str:
    """Blocks below the first trained one, run once or at every step."""
    a_step, fit, apart = found["seconds_a_step"], found["fit_seconds"], found["apart"]
    rows = [["all blocks at every step", f"{a_step['every']:.2f} s", f"{fit['every']:.0f} s", f"{fit['every']:.0f} s"],
            ["the frozen ones once", f"{a_step['once']:.2f} s", f"{fit['first run']:.0f} s",
             f"{fit['later runs']:.0f} s"]]  # fmt: skip
    return part(
        "Frozen blocks: the tickets recipe, the last 16 of 30 learn",
        "python bench/frozen.py",
        table(["", "a step, median", "fit, first run", "fit, later runs"], rows),
        f"Steps were measured in turns; a fit is {found['steps']} of them, and in the first run what computing the "
        f"frozen blocks takes. Loss apart by {apart['loss']:.1e}, gradient by {apart['gradient']:.1e} of its length. "
        f"GEMM {found['gemm_gflops']:.0f} GFLOP/s.",
    )


def rendering(found: dict[str, Any]) -> str:
    """Rows of chats to token ids."""
    rows = [[name, f"{value:,.0f}"] for name, value in found["rows_per_second"].items()]
    return part(
        "Rendering and packing: dolly",
        "python bench/rendering.py --data dolly.jsonl",
        table(["", "rows/s"], rows),
        f"{found['rows']:,} rows, {found['tokens']:,} tokens. GEMM {found['gemm_gflops']:.0f} GFLOP/s.",
    )


SECTIONS: dict[str, Callable[[dict[str, Any]], str]] = {
    "demo": demo, "classify": classify, "dolly": dolly, "rl": rl, "frozen": frozen, "rendering": rendering,
    "attention": attention, "forecast": forecasts, "resume": resume, "shuffled": shuffled, "serve": serve,
    "siege": siege,
}  # fmt: skip


if __name__ == "__main__":
    main()
