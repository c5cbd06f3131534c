"""Kill runs at random moments with SIGKILL, start them again, and compare what comes out with a run left in peace.

    python bench/resume.py [--kills 20] [--each 5] [--model smollm2-135m-instruct]

Runs are killed until `kills` is reached, each up to `each` times, at moments drawn evenly from the time that an
undisturbed run takes. The process that the user started is killed; the one that works for it must notice. Each must
end with the same weights and optimizer state, bit for bit, and one registered version.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from harness.output import ROOT, write_result
from safetensors.torch import load_file

sys.path.insert(0, str(ROOT / "tests"))

RECIPE = """
name: resume
base_model: {model}
data: {data}
train: {{batch_size: 4, num_epochs: 2, learning_rate: 1e-3, save_steps: 2, eval_steps: 5}}
evaluate: {{metrics: [exact_match], baselines: [base], forgetting: false, max_new_tokens: 8}}
machine: {{threads: 2, memory: 4GB}}
"""


def main() -> int:
    """Print a table and write bench/results/resume.json; exit code 1 where anything differs."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--each", type=int, default=5)
    options.add_argument("--rows", type=int, default=120)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--model", default="")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = prove(Path(scratch), asked)
    write_result("resume", {"model": asked.model or "tiny", "runs": rows})
    return 0 if all(row["weights_equal"] and row["optimizer_equal"] and row["versions"] == 1 for row in rows) else 1


def prove(scratch: Path, asked: argparse.Namespace) -> list[dict]:
    """One undisturbed run, then the disturbed ones; a row for each of these."""
    recipe = write_recipe(scratch, asked)
    start = time.monotonic()
    reference = finish(scratch / "reference", recipe)
    whole = time.monotonic() - start
    print(f"undisturbed run: {whole:.1f} s\n{'run':>3}  {'kills':>5}  {'weights':>8}  {'optimizer':>9}  versions")
    draw, rows, left = random.Random(asked.seed), [], asked.kills
    while left > 0:
        found = scratch / f"run{len(rows)}"
        kills = disturb(found, recipe, draw, whole, min(left, asked.each))
        left -= kills
        row = {"kills": kills, **compare(reference, found)}
        rows.append(row)
        same = {True: "equal", False: "DIFFERS"}
        print(f"{len(rows):>3}  {kills:>5}  {same[row['weights_equal']]:>8}  {same[row['optimizer_equal']]:>9}  "
              f"{row['versions']:>8}", flush=True)  # fmt: skip
    return rows


def write_recipe(scratch: Path, asked: argparse.Namespace) -> Path:
    """A recipe on arithmetic rows, with the tiny random model unless another is asked for."""
    from factory import write_tiny_llama

    model = asked.model or str(write_tiny_llama(scratch / "tiny"))
    lines = [
        json.dumps({"prompt": f"what does repair {a} cost?", "completion": f"{a * 3 % 7} euros"})
        for a in range(asked.rows)
    ]
    data = scratch / "rows.jsonl"
    data.write_text("\n".join(lines) + "\n")
    recipe = scratch / "recipe.yaml"
    recipe.write_text(RECIPE.format(model=model, data=data))
    return recipe


def disturb(home: Path, recipe: Path, draw: random.Random, whole: float, kills: int) -> int:
    """Kill a run up to `kills` times, then let it end; how often it was killed before it ended by itself."""
    for done in range(kills):
        child = start(home, recipe)
        try:
            child.wait(draw.uniform(0.5, whole))
            return done
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            if ended(home):  # it was done, and had only not returned yet
                return done
    finish(home, recipe)
    return kills


def ended(home: Path) -> bool:
    """Whether the run of a home is finished: the same command would start another."""
    from luthier.store import Home, runs

    return any(row.status == "succeeded" for row in runs.list(Home.open(home), 10))


def finish(home: Path, recipe: Path) -> Path:
    """Start the recipe in a home of its own and wait for its end; the home."""
    child = start(home, recipe)
    if child.wait() != 0:
        sys.exit(f"the run in {home} ended with code {child.returncode}")
    return home


def start(home: Path, recipe: Path) -> subprocess.Popen:
    """`luthier run` as a user types it, in a process group that can be killed."""
    command = [str(Path(sys.executable).with_name("luthier")), "run", str(recipe), "--json"]
    environment = os.environ | {"LUTHIER_HOME": str(home)}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet, start_new_session=True)


def compare(reference: Path, home: Path) -> dict:
    """Whether weights and optimizer state of the first finished runs are equal, and how many versions there are."""
    from luthier.registry import versions
    from luthier.store import Home

    left, right = last_checkpoint(reference), last_checkpoint(home)
    return {
        "weights_equal": equal(left / "weights.safetensors", right / "weights.safetensors"),
        "optimizer_equal": equal(left / "optimizer.safetensors", right / "optimizer.safetensors"),
        "versions": len(versions.list_versions(Home.open(home))),
    }


def last_checkpoint(home: Path) -> Path:
    """The newest checkpoint of the only run in a home."""
    (run,) = (home / "runs").iterdir()
    return max((run / "checkpoints").glob("step-*"))


def equal(a: Path, b: Path) -> bool:
    """Whether two files hold the same tensors, bit for bit."""
    left, right = load_file(a), load_file(b)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


if __name__ == "__main__":
    sys.exit(main())
