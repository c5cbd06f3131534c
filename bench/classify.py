"""Classification by an encoder, frozen and trained: how good whole fits are, beside scikit-learn and HF's Trainer.

    python bench/classify.py --data DIR [--peer .venv-peer/bin/python] [--epochs 6] [--only frozen|trained]

DIR holds banking77/train.csv and test.csv. Frozen trunk: the whole job in a home without cached features;
scikit-learn's logistic regression learns from the very same features of the same rows. Trained trunk: each side
fits once. Prints tables and writes bench/results/classify.json; the speeds are compared in turns by bench/run.py.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from harness.cases.classify import MODEL, labelled, rows_of
from harness.luthier import luthier
from harness.machine import gemm
from harness.output import ROOT, read_result, write_result
from harness.turns import process

from luthier.models.locate import locate

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
EPOCHS = 3
"""Of the frozen part."""


def main() -> None:
    """Both parts, one after the other."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--peer", default=str(ROOT / ".venv-peer" / "bin" / "python"))
    options.add_argument("--epochs", type=int, default=6)
    options.add_argument("--only", choices=["frozen", "trained"])
    asked = options.parse_args()
    result = read_result("classify")
    with tempfile.TemporaryDirectory() as scratch:
        if asked.only != "trained":
            result["frozen"] = frozen(Path(scratch), asked)
        if asked.only != "frozen":
            result["trained"] = trained(Path(scratch), asked)
    write_result("classify", result)
    print(json.dumps(result, indent=1))


def frozen(scratch: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Accuracy of both on one set of features."""
    begun = time.perf_counter()
    done = luthier(
        scratch / "home", "run", write_recipe(scratch, asked.data, "head", more=f"train: {{num_epochs: {EPOCHS}}}\n")
    )
    whole = time.perf_counter() - begun
    data = load_features(scratch / "home", done["dataset_version"])
    return {"gemm_gflops": gemm(), "accuracy": done["tuned"]["accuracy"], "seconds": fit_seconds(done),
            "whole_seconds": whole, "job_seconds": done["actual"]["job_seconds"],
            "later_epoch_seconds": stage_seconds(done, "train") / EPOCHS,
            "peer_accuracy": {f"C={strength}": regression(data, strength) for strength in (1, 10)}}  # fmt: skip


def fit_seconds(done: dict[str, Any]) -> float:
    """Seconds of the features of the training rows, the first head and the steps after it."""
    return stage_seconds(done, "features (train)", "first head", "train")


def stage_seconds(done: dict[str, Any], *names: str) -> float:
    return sum(stage["seconds"] for stage in done["timeline"] if stage["stage"] in names)


def load_features(home: Path, dataset: str) -> dict[str, tuple[np.ndarray, list[Any]]]:
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


def regression(data: dict[str, tuple[np.ndarray, list[Any]]], strength: float) -> float:
    """Accuracy of scikit-learn's logistic regression on the test features."""
    from sklearn.linear_model import LogisticRegression

    return float(LogisticRegression(C=strength, max_iter=1000).fit(*data["train"]).score(*data["test"]))


def trained(scratch: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Accuracy and seconds of a whole fit of each side."""
    before = gemm()
    done = luthier(scratch / "home", "run", write_recipe(scratch, asked.data, "full"))
    middle = gemm()
    peer = process("hf_classify.py", peer_job(scratch, asked), asked.peer)
    return {
        "accuracy": done["tuned"]["accuracy"], "seconds": fit_seconds(done), "steps": done["actual"]["steps"],
        "gemm_gflops": [before, middle, gemm()], "peer_accuracy_by_epoch": peer["accuracy_by_epoch"],
        "peer_seconds": peer["seconds"],
    }  # fmt: skip


def peer_job(scratch: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """The peer on the same rows, with the setting at which it was best."""
    folder = locate(MODEL, scratch / "home" / "cache" / "models").folder
    parts = {name: rows_of(asked.data / "banking77" / f"{name}.csv", folder) for name in ("train", "test")}
    labels = sorted({row.raw["category"] for row in parts["train"]})
    rows = {name: labelled(own, labels) for name, own in parts.items()}
    settings = {"per_device_train_batch_size": 32, "per_device_eval_batch_size": 64, "num_train_epochs": asked.epochs,
                "eval_strategy": "epoch"}  # fmt: skip
    return {"model": str(folder), "threads": 2, "scratch": str(scratch / "peer"), "labels": len(labels),
            "settings": settings, "warm": rows["train"][:32], "rows": rows["train"], "test": rows["test"]}  # fmt: skip


def write_recipe(folder: Path, data: Path, adapter: str, more: str = "") -> str:
    """The recipe of one part."""
    path = folder / f"{adapter}.yaml"
    path.write_text(RECIPE.format(adapter=adapter, model=MODEL, data=data.resolve() / "banking77") + more)
    return str(path)


if __name__ == "__main__":
    sys.exit(main())
