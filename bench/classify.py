"""Classification by an encoder, frozen and trained, beside scikit-learn and Hugging Face's Trainer.

    python bench/classify.py --data banking77/ [--peer .venv-peer/bin/python] [--pairs 5] [--epochs 6]

`--data` is a folder with train.csv and test.csv (a text and a label column). Frozen trunk: `luthier run`, then the
head's fit and scikit-learn's logistic regression on the very same features and rows, in turns. Trained trunk: the
whole fit of each side once, and short slices in turns for the ratio of their speeds. Prints tables and writes
bench/results/classify.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from demo import gemm

from luthier.models.locate import locate

ROOT = Path(__file__).resolve().parents[1]
MODEL, SLICE = "all-minilm-l6-v2", 40
"""The encoder; optimizer steps of a slice."""
RECIPE = """
name: bench-{adapter}
base_model: {model}
data:
  - {{path: {data}/train.csv, type: classification, field_text: text, field_label: category}}
  - {{path: {data}/test.csv, type: classification, field_text: text, field_label: category, split: test}}
adapter: {adapter}
objective: classify
evaluate: {{baselines: [base]}}
"""


def main() -> None:
    """Both parts, one after the other."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--peer", default=str(ROOT / ".venv-peer" / "bin" / "python"))
    options.add_argument("--pairs", type=int, default=5)
    options.add_argument("--epochs", type=int, default=6)
    options.add_argument("--only", choices=["frozen", "trained"])
    asked = options.parse_args()
    target = ROOT / "bench" / "results" / "classify.json"
    result = json.loads(target.read_text()) if target.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        if asked.only != "trained":
            result["frozen"] = frozen(Path(scratch) / "home", asked)
        if asked.only != "frozen":
            result["trained"] = trained(Path(scratch) / "home", asked)
    target.write_text(json.dumps(result, indent=1) + "\n")


def frozen(home: Path, asked: argparse.Namespace) -> dict:
    """Accuracy of both on one set of features, and the seconds of their fits in turns."""
    recipe = write_recipe(home.parent, asked.data, "head")
    done = luthier(home, "run", recipe)
    features = next(s["seconds"] for s in done["timeline"] if s["stage"] == "features (train)")
    data = load_features(home, done["dataset_version"])
    ours, theirs, peers = [], [], {}
    for _ in range(asked.pairs):
        ours.append(head_seconds(luthier(home, "train", recipe, "--fresh")))
        seconds, peers = logistic_regression(data)
        theirs.append(seconds)
    medians = {name: statistics.median(turn[name] for turn in theirs) for name in peers}
    result = {
        "gemm_gflops": gemm(), "features_seconds": features, "accuracy": done["tuned"]["accuracy"],
        "fit_seconds": statistics.median(ours), "peer_accuracy": peers, "peer_fit_seconds": medians,
    }  # fmt: skip
    print(f"features of the training rows: {features:.1f} s, GEMM {result['gemm_gflops']:.0f} GFLOP/s")
    print(f"Luthier, head:            {result['accuracy']['value']:.4f}  fit {result['fit_seconds']:.1f} s")
    for name, value in peers.items():
        print(f"scikit-learn, {name}: {value:.4f}  fit {medians[name]:.1f} s")
    return result


def head_seconds(done: dict) -> float:
    """Seconds of all that is done with features: the first head and the steps after it."""
    return sum(stage["seconds"] for stage in done["timeline"] if stage["stage"] in ("first head", "train"))


def load_features(home: Path, dataset: str) -> dict:
    """Normalised features and labels of each split, as the run computed them."""
    from luthier.data import version
    from luthier.store import Home

    rows = {split: version.read(Home.open(home), dataset, split) for split in ("train", "test")}
    found = {}
    for path in (home / "cache" / "features").glob("*.npy"):
        array = np.load(path)
        for split, own in rows.items():
            if len(array) == len(own):
                norm = array / np.linalg.norm(array, axis=1, keepdims=True)
                found[split] = (norm, [row.label for row in own])
    return found


def logistic_regression(data: dict) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds and accuracy of a fit at the default strength, and at ten times it."""
    from sklearn.linear_model import LogisticRegression

    seconds, found = {}, {}
    for strength in (1, 10):
        start = time.perf_counter()
        model = LogisticRegression(C=strength, max_iter=1000).fit(*data["train"])
        seconds[f"C={strength}"] = time.perf_counter() - start
        found[f"C={strength}"] = float(model.score(*data["test"]))
    return seconds, found


def trained(home: Path, asked: argparse.Namespace) -> dict:
    """Accuracy and seconds of a whole fit of each side, and the ratio of their speeds in slices."""
    recipe = write_recipe(home.parent, asked.data, "full")
    before = gemm()
    done = luthier(home, "run", recipe, "--fresh")
    middle = gemm()
    accuracy = done["tuned"]["accuracy"]["value"]
    print(f"Luthier, all weights: {accuracy:.4f} after {done['actual']['steps']} steps", flush=True)
    folder = home.parent
    peer = trainer(asked, home, folder, {"epochs": asked.epochs})
    ratios = []
    for _ in range(asked.pairs):
        own = luthier(home, "train", recipe, "--fresh", "--set", f"train.max_steps={SLICE}")
        other = trainer(asked, home, folder, {"max_steps": SLICE})
        ratios.append((other["seconds"] / other["rows"]) / (own["actual"]["seconds"] / (SLICE * 32)))
    seconds = {s["stage"]: s["seconds"] for s in done["timeline"]}
    result = {
        "accuracy": done["tuned"]["accuracy"], "seconds": seconds["features (train)"] + head_seconds(done),
        "steps": done["actual"]["steps"], "gemm_gflops": [before, middle, gemm()],
        "peer_accuracy_by_epoch": peer["accuracy_by_epoch"], "peer_seconds": peer["seconds"],
        "speed_ratio": statistics.median(ratios), "speed_ratios": ratios,
    }  # fmt: skip
    print(f"Luthier, all weights: {result['accuracy']['value']:.4f} in {result['seconds']:.0f} s")
    print(f"Trainer, all weights: {max(peer['accuracy_by_epoch']):.4f} at its best epoch in {peer['seconds']:.0f} s")
    print(f"rows a second in slices: Luthier is {result['speed_ratio']:.2f} x; GEMM {result['gemm_gflops']}")
    return result


def trainer(asked: argparse.Namespace, home: Path, folder: Path, extent: dict) -> dict:
    """The peer on the same files, with the setting at which it was best."""
    model = locate(MODEL, home / "cache" / "models").folder
    rows = {name: read(asked.data / f"{name}.csv") for name in ("train", "test")}
    job = {"model": str(model), "folder": str(folder / "peer"), "labels": sorted({row[1] for row in rows["train"]}),
           "sequence_len": 512, "batch_size": 32, "learning_rate": 2e-4, **rows, **extent}  # fmt: skip
    out = subprocess.run([asked.peer, "bench/peers/hf_classify.py"], input=json.dumps(job), cwd=ROOT, text=True,
                         capture_output=True, check=False)  # fmt: skip
    if out.returncode:
        sys.exit(out.stderr[-2000:])
    return json.loads(out.stdout.strip().splitlines()[-1])


def read(path: Path) -> list[list[str]]:
    """Text and label of each row."""
    with path.open(newline="", encoding="utf-8") as file:
        return [[row["text"], row["category"]] for row in csv.DictReader(file)]


def write_recipe(folder: Path, data: Path, adapter: str) -> Path:
    """The recipe of one part."""
    path = folder / f"{adapter}.yaml"
    path.write_text(RECIPE.format(adapter=adapter, model=MODEL, data=data.resolve()))
    return path


def luthier(home: Path, verb: str, recipe: Path, *more: str) -> dict:
    """The document of a verb as a user types it."""
    command = [str(Path(sys.executable).with_name("luthier")), verb, str(recipe), "--json", *more]
    out = subprocess.run(
        command, env=os.environ | {"LUTHIER_HOME": str(home)}, capture_output=True, text=True, check=False
    )
    if out.returncode:
        sys.exit(out.stderr[-2000:])
    return json.loads(out.stdout)


if __name__ == "__main__":
    main()
