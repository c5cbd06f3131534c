"""The losses of the first steps of each method, as they were when they were last looked at.

A change of these numbers is a change of what is learnt: it must be meant. To write them anew:

    OMP_NUM_THREADS=1 PYTHONPATH=tests .venv/bin/python tests/golden/test_golden.py
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from factory import write_tiny_bert, write_tiny_llama
from policies import LABELS, RowsInMemory, batch_maker, drawn_columns, files_of, language_rows, pair_rows

from luthier.data.batch import Batch, pack
from luthier.data.forest import Row
from luthier.data.stream import Interleaved, MakeBatches, Stream, packed
from luthier.engine.adapter_seams import adapter_seams
from luthier.engine.checkpoint import Checkpoints
from luthier.engine.elastic import empirical_fisher, hold
from luthier.engine.loop import Source, train
from luthier.engine.plan import Plan
from luthier.engine.private import Draws, clipped, noise
from luthier.engine.report import Report
from luthier.engine.seams import Seams
from luthier.models.load import load_base, make_policy
from luthier.models.policy import Policy
from luthier.models.score import over_rows, row_logprobs
from luthier.objectives import TABLE
from luthier.objectives import Objective as Scoring
from luthier.objectives.together import TASK, Part, together
from luthier.recipe import ON_POLICY, PAIRED, Adapter, Objective, Train

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
    use_dora: bool = False
    way: str = ""
    """What else a step has: a key of WAYS."""


CASES = {
    "sft, lora": Case("sft", "llama", "lora", 1e-2, shared=20),
    "sft, dora": Case("sft", "llama", "lora", 1e-2, shared=20, use_dora=True),
    "sft, ia3": Case("sft", "llama", "ia3", 1e-1, shared=20),
    "sft, bottleneck": Case("sft", "llama", "bottleneck", 1e-2, shared=20),
    "sft, adalora": Case("sft", "llama", "adalora", 3e-2, shared=20),
    "classify, bottleneck": Case("classify", "bert", "bottleneck", 1e-2),
    "sft, full": Case("sft", "llama", "full", 1e-3, shared=20),
    "sft, prefix": Case("sft", "llama", "prefix", 1e-1, shared=20),
    "sft, prompt": Case("sft", "llama", "prompt", 1e-1, shared=20),
    "classify, prompt": Case("classify", "bert", "prompt", 1e-2),
    "distill, lora": Case("distill", "llama", "lora", 1e-2, shared=20),
    "distill, full": Case("distill", "llama", "full", 1e-3, shared=20),
    "pretrain, full": Case("pretrain", "llama", "full", 1e-3),
    "sft, full, held": Case("sft", "llama", "full", 1e-3, way="held"),
    "sft, lora, private": Case("sft", "llama", "lora", 1e-2, way="private"),
    "sft and pretrain, lora": Case("sft", "llama", "lora", 1e-2, way="beside"),
    "sft and classify, lora": Case("sft", "llama", "lora", 1e-2, way="labels beside"),
    "classify, head": Case("classify", "bert", "head", 1e-1),
    "classify, lora": Case("classify", "bert", "lora", 1e-2),
    "classify, full": Case("classify", "bert", "full", 1e-3),
    "classify, lora on a decoder": Case("classify", "llama", "lora", 1e-2),
    "classify, several labels, head": Case("classify", "bert", "head", 1e-1, multi_label=True),
    "classify, several labels, full": Case("classify", "bert", "full", 1e-3, multi_label=True),
    "grpo, lora": Case("grpo", "llama", "lora", 1e-2, shared=20),
    "ppo, full": Case("ppo", "llama", "full", 1e-3, shared=20),
    "dpo, lora": Case("dpo", "llama", "lora", 1e-2),
    "dpo, full": Case("dpo", "llama", "full", 1e-3),
    "reward, lora": Case("reward", "llama", "lora", 1e-2),
    "reward, head": Case("reward", "bert", "head", 1e-1),
}


def losses(case: Case, model: Path, folder: Path) -> list[float]:
    """The loss at each of the first steps, from the base model on."""
    labels = {"classify": LABELS, "reward": ("reward",)}.get(case.objective, LABELS if "labels" in case.way else ())
    adapter = Adapter(type=case.adapter, lora_r=4, lora_alpha=8.0, use_dora=case.use_dora)  # type: ignore[arg-type]
    policy = make_policy(files_of(model), adapter, labels, case.multi_label, seed=1)
    if case.objective == "ppo":
        torch.manual_seed(1)
        policy.value_head = torch.nn.Linear(policy.lm_head.in_features, 1)  # type: ignore[union-attr]
    rows = RowsInMemory(rows_of(case))
    share, together = case.model == "llama" and case.objective != "classify", 2 if case.objective in PAIRED else 1
    make = packed(rows, MICRO_BATCH_TOKENS, columns_of(case, policy, rows), share, together=together)
    if case.objective in ON_POLICY:
        make = as_drawn(rows, make)
    settings, handed = settings_of(case), handed_to(case, folder)
    objective = TABLE[case.objective](settings, case.multi_label, **handed)
    stream, objective, seams = WAYS[case.way](policy, objective, Stream(make, ROWS, BATCH, STEPS * BATCH))
    seams = seams.and_those_of(adapter_seams(policy, adapter, STEPS))
    plan = Plan(Train(learning_rate=case.learning_rate, weight_decay=0.01), policy.trainable(), STEPS, seams=seams)
    seen: list[float] = []

    def note(report: Report, policy: Policy) -> None:
        seen.append(report.metrics["loss"])

    train(policy, objective, stream, plan, Checkpoints(folder, STEPS), [note])
    return seen


Way = tuple[Source, Scoring, Seams]


def held(policy: Policy, objective: Scoring, stream: Stream) -> Way:
    earlier = (pack([row]) for row in language_rows(seed=9))
    fisher = empirical_fisher(policy, objective, earlier)
    return stream, objective, Seams(after_backward=(hold(100.0, fisher, policy.trainable()),))


def private(policy: Policy, objective: Scoring, stream: Stream) -> Way:
    draws = Draws(stream.make, stream.count, BATCH / ROWS, seed=3)
    return draws, objective, Seams(gradient=clipped(1.0, BATCH), after_backward=(noise(draws, 0.01),), clip=False)


def beside(policy: Policy, objective: Scoring, stream: Stream) -> Way:
    text = RowsInMemory(rows_of(Case("pretrain", "llama", "lora", 0.0)))
    other = Stream(packed(text, MICRO_BATCH_TOKENS), ROWS, 2, STEPS * 2)
    both = together({"sft": Part(objective), "beside": Part(TABLE["pretrain"](Objective(), False), 0.3)})
    return Interleaved((stream, other), TASK), both, Seams()


def labels_beside(policy: Policy, objective: Scoring, stream: Stream) -> Way:
    case = Case("classify", "llama", "lora", 0.0)
    rows = RowsInMemory(rows_of(case))
    make = packed(rows, MICRO_BATCH_TOKENS, columns_of(case, policy, rows))
    both = together({"sft": Part(objective), "beside": Part(TABLE["classify"](Objective(), False), 0.3)})
    return Interleaved((stream, Stream(make, ROWS, 3, STEPS * 3)), TASK), both, Seams()


WAYS: dict[str, Callable[[Policy, Scoring, Stream], Way]] = {
    "": lambda policy, objective, stream: (stream, objective, Seams()),
    "held": held,
    "private": private,
    "beside": beside,
    "labels beside": labels_beside,
}


def settings_of(case: Case) -> Objective:
    penalty = {"kl_coef": 0.1} if case.objective in ON_POLICY else {}
    return Objective(type=case.objective, **penalty)  # type: ignore[arg-type]


def handed_to(case: Case, folder: Path) -> dict[str, Any]:
    if case.objective != "distill":
        return {}
    return {"teacher": load_base(files_of(write_tiny_llama(folder / "teacher", seed=5)))}


def rows_of(case: Case) -> list[Row]:
    vocabulary = 90 if case.model == "bert" else 300
    if case.objective in PAIRED:
        return pair_rows(vocabulary, ROWS)
    rows = language_rows(vocabulary, ROWS, case.shared)
    if case.objective != "pretrain":
        return rows
    return [Row(row.ids, np.r_[0.0, np.ones(len(row.ids) - 1)].astype(np.float32), row.number) for row in rows]


def as_drawn(rows: RowsInMemory, make: MakeBatches) -> MakeBatches:
    """The same batches, with what a rollout knows of each token."""
    known = batch_maker(rows.rows, targets=drawn_columns(rows.rows))

    def drawn(numbers: Sequence[int]) -> list[Batch]:
        return [replace(b, target_columns=known(b.numbers_R.tolist()).target_columns) for b in make(numbers)]

    return drawn


def columns_of(case: Case, policy: Policy, rows: RowsInMemory) -> dict[str, np.ndarray]:
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
