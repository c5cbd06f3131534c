"""Medians over turns, and ratios within them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from harness.case import Case
from harness.output import plain_table
from harness.turns import Slice

KEPT = ("rate", "seconds", "share", "gemm_gflops", "before_seconds")


def summary(case: Case, turns: Sequence[dict[str, Slice]], parity: dict[str, Any]) -> dict[str, Any]:
    """The result of a case: medians of each side, ratios of Luthier's rate to its within each turn, parity."""
    names = list(dict.fromkeys(name for turn in turns for name in turn))
    return {
        "case": case.name, "title": case.title, "unit": case.unit, "remark": case.remark, "turns": len(turns),
        "sides": {name: of_side(name, case.sides[0].name, turns) | agreement(name, case.sides[0].name, turns)
                  for name in names},
        "parity": parity,
    }  # fmt: skip


def of_side(name: str, first: str, turns: Sequence[dict[str, Slice]]) -> dict[str, Any]:
    """Medians of one side; its last words where it failed."""
    own = [turn[name] for turn in turns if name in turn]
    good = [found for found in own if "failed" not in found]
    if not good:
        return {"failed": own[0]["failed"]}
    ratios = [
        turn[first]["rate"] / turn[name]["rate"]
        for turn in turns
        if "rate" in turn.get(name, {}) and "rate" in turn.get(first, {})
    ]
    medians = {key: statistics.median(found[key] for found in good) for key in KEPT if key in good[0]}
    others = {key: value for key, value in good[0].items() if key not in {*KEPT, "peak_memory_bytes", "answers", "nll"}}
    peak = max(found.get("peak_memory_bytes", 0) for found in good)
    return {
        **others, **medians, "peak_memory_bytes": peak, "slices": len(good), "ratios": ratios,
        "ratio": statistics.median(ratios) if ratios else None,
    }  # fmt: skip


def agreement(name: str, first: str, turns: Sequence[dict[str, Slice]]) -> dict[str, float]:
    """How far what a side found is what the first one found on the same rows: the share of equal answers, and the
    largest relative difference of a row's likelihood."""
    for turn in turns:
        own, other = turn.get(name, {}), turn.get(first, {})
        if name == first or own.get("rows") != other.get("rows"):
            continue
        if "answers" in own:
            same = [a == b for a, b in zip(own["answers"], other["answers"], strict=True)]
            return {"equal_answers": sum(same) / len(same)}
        if "nll" in own:
            pairs = zip(own["nll"], other["nll"], strict=True)
            return {"nll_difference": max(abs(a - b) / max(abs(b), 1e-9) for a, b in pairs)}
    return {}


def show(result: dict[str, Any]) -> str:
    """The table of a case for the terminal."""
    rows = [cells(name, side, result["unit"]) for name, side in result["sides"].items()]
    head = ["", "seconds" if result["unit"] == "start" else f"{result['unit']}/s", "of ceiling", "GEMM", "peak memory",
            "Luthier is"]  # fmt: skip
    parity = [f"{name}: {value:.3g}" for name, value in result["parity"].items() if isinstance(value, float)]
    return "\n".join([f"\n{result['title']}, {result['turns']} turns", plain_table(head, rows), *parity])


def cells(name: str, side: dict[str, Any], unit: str) -> list[str]:
    """One line of the table."""
    if "failed" in side:
        return [name, "failed", "", "", "", ""]
    return [
        name, f"{side['seconds']:.2f}" if unit == "start" else f"{side['rate']:.4g}",
        f"{100 * side['share']:.0f} %" if side["share"] else "", f"{side['gemm_gflops']:.0f}",
        f"{side['peak_memory_bytes'] / 1e9:.2f} GB" if side["peak_memory_bytes"] else "",
        f"{side['ratio']:.2f} x" if side["ratio"] else "",
    ]  # fmt: skip
