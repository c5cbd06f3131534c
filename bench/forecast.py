"""What short jobs were forecast to take, before and after their probe, and what they took.

    python bench/forecast.py --data folder [--only dolly tickets …]

`--data` is a folder with `dolly_en/train.jsonl` and `banking77/*.csv`; the other rows are those of `examples/tickets`.
Each job is a recipe as users write it, cut to some steps. Prints a table and writes bench/results/forecast.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from demo import gemm

ROOT = Path(__file__).resolve().parents[1]
TICKETS = ROOT / "examples" / "tickets"
CHAT, ENCODER = "smollm2-135m-instruct", "all-minilm-l6-v2"
DOLLY_ROWS = 400
ERRORS = ("seconds", "job_seconds", "peak_memory_bytes")


def cases(data: Path, scratch: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    """Name → verb and recipe."""
    dolly = {"base_model": CHAT, "data": str(some_rows(data / "dolly_en" / "train.jsonl", scratch / "dolly.jsonl")),
             "splits": {"validation": 0.04, "test": 0.04}}  # fmt: skip
    texts = {"type": "classification", "field_text": "text", "field_label": "category"}
    banking = {
        "base_model": ENCODER, "objective": "classify", "evaluate": {"baselines": ["base"]},
        "data": [{"path": str(data / "banking77" / f"{split}.csv"), "split": split, **texts}
                 for split in ("train", "test")],
    }  # fmt: skip
    long = {"sequence_len": 1024, "truncation": "drop"}
    pairs = {"base_model": CHAT, "objective": "dpo", "data": str(TICKETS / "pairs_train.jsonl")}
    return {
        "LoRA, dolly": ("train", dolly | {"train": long | {"max_steps": 3}}),
        "LoRA, tickets, whole job": ("run", tickets({"max_steps": 16, "eval_steps": 16}, {"max_rows": 16})),
        "all weights, dolly": ("train", dolly | {"adapter": "full", "train": long | {"max_steps": 4, "batch_size": 8}}),
        "NF4, dolly": ("train", dolly | {"load_in_4bit": True, "train": long | {"max_steps": 4, "batch_size": 8}}),
        "dpo, tickets": ("train", pairs | {"train": {"max_steps": 6, "batch_size": 4, "eval_steps": 6}}),
        "all weights, banking77": ("run", banking | {"adapter": "full", "train": {"max_steps": 100, "eval_steps": 50}}),
        "head, banking77": ("run", banking | {"adapter": "head"}),
    }  # fmt: skip


def tickets(train: dict[str, Any], evaluate: dict[str, Any]) -> dict[str, Any]:
    """The recipe of the example tickets, cut short."""
    recipe = yaml.safe_load((TICKETS / "recipe.yaml").read_text())
    entries = recipe["data"] if isinstance(recipe["data"], list) else [recipe["data"]]
    named = [entry if isinstance(entry, dict) else {"path": entry} for entry in entries]
    recipe["data"] = [entry | {"path": str(TICKETS / entry["path"])} for entry in named]
    return recipe | {"train": recipe.get("train", {}) | train, "evaluate": recipe.get("evaluate", {}) | evaluate}


def some_rows(source: Path, target: Path) -> Path:
    """The first rows of a file, as a file."""
    with source.open(encoding="utf-8") as lines:
        target.write_text("".join(islice(lines, DOLLY_ROWS)), encoding="utf-8")
    return target


def main() -> None:
    """One job after the other."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--only", nargs="*", help="parts of names", default=[""])
    options.add_argument("--home", type=Path, help="a home that is kept")
    asked = options.parse_args()
    target = ROOT / "bench" / "results" / "forecast.json"
    found = json.loads(target.read_text()) if target.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, (verb, recipe) in cases(asked.data.resolve(), Path(scratch)).items():
            if any(part in name for part in asked.only):
                found[name] = job(verb, recipe, Path(scratch), asked.home or Path(scratch) / "home")
                print(line(name, found[name]), flush=True)
    target.write_text(json.dumps(found, indent=1) + "\n")


def job(verb: str, recipe: dict[str, Any], scratch: Path, home: Path) -> dict[str, Any]:
    """Both forecasts of a job, what it took, and the errors."""
    path = scratch / "recipe.yaml"
    path.write_text(yaml.safe_dump({"name": "bench-forecast", **recipe}))
    command = [str(Path(sys.executable).with_name("luthier")), verb, str(path), "--json", "--fresh"]
    before = gemm()
    out = subprocess.run(
        command, env=os.environ | {"LUTHIER_HOME": str(home)}, capture_output=True, text=True, check=False
    )
    if out.returncode:
        sys.exit(out.stderr[-3000:])
    document = json.loads(out.stdout)
    if verb == "train":
        for forecast in document["forecast_error"].values():
            forecast.pop("job_seconds", None)
    kept = ("forecast", "forecast_after_probe", "actual", "forecast_error")
    return {"gemm_gflops": [before, gemm()], "stages": document["timeline"], **{key: document[key] for key in kept}}


def line(name: str, found: dict[str, Any]) -> str:
    """A row of the table: forecast, after the probe, taken."""
    parts = [f"{name:<26}"]
    for key in ERRORS:
        kinds = ("forecast", "forecast_after_probe", "actual")
        unit = 1e9 if key == "peak_memory_bytes" else 1.0
        values = " / ".join(f"{(found[kind].get(key) or 0) / unit:.2f}" for kind in kinds)
        errors = ", ".join(f"{e[key]:+.0%}" for e in found["forecast_error"].values() if key in e)
        parts.append(f"{key}: {values} ({errors})")
    return "  ".join([*parts, f"GEMM {found['gemm_gflops'][0]:.0f}, {found['gemm_gflops'][1]:.0f}"])


if __name__ == "__main__":
    main()
