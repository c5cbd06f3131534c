"""The losses of the first steps of each method, as they were when they were last looked at.

A change of these numbers is a change of what is learnt: it must be meant. To write them anew:

    OMP_NUM_THREADS=1 PYTHONPATH=tests .venv/bin/python tests/golden/test_golden.py
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from factory import write_tiny_bert, write_tiny_llama
from policies import LABELS, files_of, language_rows, pair_rows

from luthier.data.forest import Row
from luthier.data.stream import Stream, packed
from luthier.engine.checkpoint import Checkpoints
from luthier.engine.loop import train
from luthier.engine.plan import Plan
from luthier.engine.report import Report
from luthier.models.load import make_policy
from luthier.models.policy import Policy
from luthier.models.score import over_rows, row_logprobs
from luthier.objectives import TABLE
from luthier.recipe import PAIRED, Adapter, Objective, Train

GOLDEN = Path(__file__).with_name("losses.json")
STEPS, BATCH, ROWS = 6, 4, 10
MICRO_BATCH_TOKENS = 60


@dataclass(frozen=True)
class Case:
    """What is trained, on which of the two tiny models, and how fast."""

    objective: str
    model: str
    adapter: str
    learning_rate: float
    multi_label: bool = False
    shared: int = 0


CASES = {
    "sft, lora": Case("sft", "llama", "lora", 1e-2, shared=20),
    "sft, full": Case("sft", "llama", "full", 1e-3, shared=20),
    "pretrain, full": Case("pretrain", "llama", "full", 1e-3),
    "classify, head": Case("classify", "bert", "head", 1e-1),
    "classify, lora": Case("classify", "bert", "lora", 1e-2),
    "classify, full": Case("classify", "bert", "full", 1e-3),
    "classify, lora on a decoder": Case("classify", "llama", "lora", 1e-2),
    "classify, several labels, head": Case("classify", "bert", "head", 1e-1, multi_label=True),
    "classify, several labels, full": Case("classify", "bert", "full", 1e-3, multi_label=True),
    "dpo, lora": Case("dpo", "llama", "lora", 1e-2),
    "dpo, full": Case("dpo", "llama", "full", 1e-3),
    "reward, lora": Case("reward", "llama", "lora", 1e-2),
    "reward, head": Case("reward", "bert", "head", 1e-1),
}


class Memory:
    """Rows in memory, as a stream wants them."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows, self.lengths = rows, np.array([len(row.ids) for row in rows])

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, index: int, /) -> tuple[np.ndarray, np.ndarray]:
        return self.rows[index].ids, self.rows[index].weights


def losses(case: Case, model: Path, folder: Path) -> list[float]:
    """The loss at each of the first steps, from the base model on."""
    labels = {"classify": LABELS, "reward": ("reward",)}.get(case.objective, ())
    adapter = Adapter(type=case.adapter, lora_r=4, lora_alpha=8.0)  # type: ignore[arg-type]
    policy = make_policy(files_of(model), adapter, labels, case.multi_label, seed=1)
    rows = Memory(rows_of(case))
    share, together = case.model == "llama" and case.objective != "classify", 2 if case.objective in PAIRED else 1
    make = packed(rows, MICRO_BATCH_TOKENS, columns_of(case, policy, rows), share, together=together)
    stream = Stream(make, ROWS, BATCH, STEPS * BATCH)
    plan = Plan(Train(learning_rate=case.learning_rate, weight_decay=0.01), policy.trainable(), STEPS)
    seen: list[float] = []

    def note(report: Report, policy: Policy) -> None:
        seen.append(report.metrics["loss"])

    objective = TABLE[case.objective](Objective(type=case.objective), case.multi_label)  # type: ignore[arg-type]
    train(policy, objective, stream, plan, Checkpoints(folder, STEPS), [note])
    return seen


def rows_of(case: Case) -> list[Row]:
    vocabulary = 90 if case.model == "bert" else 300
    if case.objective in PAIRED:
        return pair_rows(vocabulary, ROWS)
    rows = language_rows(vocabulary, ROWS, case.shared)
    if case.objective != "pretrain":
        return rows
    return [Row(row.ids, np.r_[0.0, np.ones(len(row.ids) - 1)].astype(np.float32), row.number) for row in rows]


def columns_of(case: Case, policy: Policy, rows: Memory) -> dict[str, np.ndarray]:
    weight = np.linspace(0.5, 1.5, ROWS, dtype=np.float32)
    if case.objective in PAIRED:
        columns: dict[str, np.ndarray] = {"row_weight": np.repeat(weight, 2)}
        if case.objective == "dpo":
            columns["reference_logp"] = over_rows(policy, rows, 100, lambda batch: row_logprobs(policy, batch))
        return columns
    if case.objective != "classify":
        return {}
    member = np.arange(ROWS)[:, None] % (np.arange(len(LABELS)) + 2) == 0
    label = member.astype(np.float32) if case.multi_label else np.arange(ROWS) % len(LABELS)
    return {"label": label, "row_weight": weight}


@pytest.mark.parametrize("name", CASES)
def test_the_first_losses_are_the_golden_ones(name: str, tiny_llama: Path, tiny_bert: Path, tmp_path: Path) -> None:
    case = CASES[name]
    found = losses(case, {"llama": tiny_llama, "bert": tiny_bert}[case.model], tmp_path)
    assert found == pytest.approx(json.loads(GOLDEN.read_text())[name], rel=1e-5)


def test_every_case_has_golden_losses_that_fall() -> None:
    golden = json.loads(GOLDEN.read_text())
    assert golden.keys() == CASES.keys()
    for found in golden.values():
        assert len(found) == STEPS
        assert min(found[1:]) < found[0]


def write_golden() -> None:
    """Run every case and write what it found."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        models = {"llama": write_tiny_llama(root / "llama"), "bert": write_tiny_bert(root / "bert")}
        found = {name: losses(case, models[case.model], root / name) for name, case in CASES.items()}
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_golden()
