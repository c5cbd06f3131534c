"""Small policies in float64, rows for them, and the cases of the objectives' conformance suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from luthier.data.batch import Batch, pack
from luthier.data.forest import Row
from luthier.data.stream import with_targets
from luthier.engine.plan import Plan
from luthier.models.load import make_policy
from luthier.models.locate import ModelFiles, locate
from luthier.models.policy import Policy
from luthier.objectives import TABLE, Objective
from luthier.objectives.together import TASK, Part, together
from luthier.recipe import Adapter, Train
from luthier.recipe import Objective as Settings

LABELS = ("a", "b", "c")
Make = Callable[..., Batch]


def files_of(folder: Path) -> ModelFiles:
    return locate(str(folder), folder.parent / "cache")


def language_policy(
    folder: Path, adapter: Adapter = Adapter(lora_r=4, lora_alpha=8.0), dtype: torch.dtype = torch.float64,
    seed: int = 1,
) -> Policy:  # fmt: skip
    """A LoRA policy whose B matrices are not zero, so that every parameter has a gradient."""
    return settled(make_policy(files_of(folder), adapter, seed=seed), dtype)


def class_policy(
    folder: Path, adapter: Adapter, labels: tuple[str, ...] = LABELS, dtype: torch.dtype = torch.float64
) -> Policy:
    return settled(make_policy(files_of(folder), adapter, labels, seed=1), dtype)


def settled(policy: Policy, dtype: torch.dtype) -> Policy:
    draw = torch.Generator().manual_seed(2)
    for module in policy.modules():
        module.to(dtype)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            if not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=draw))
    return policy


def language_rows(vocabulary: int = 300, rows: int = 6, shared: int = 0, seed: int = 0) -> list[Row]:
    """Rows of 12 to 40 tokens whose last third is learnt; they begin with the same `shared` tokens."""
    draw = np.random.default_rng(seed)
    start = draw.integers(5, vocabulary, shared)
    lengths = draw.integers(12, 40, rows)
    return [
        Row(
            np.concatenate([start, draw.integers(5, vocabulary, n)]),
            np.concatenate([np.zeros(shared + n - n // 3), np.ones(n // 3)]).astype(np.float32),
            i,
        )
        for i, n in enumerate(lengths)
    ]


def pair_rows(vocabulary: int = 300, pairs: int = 6, seed: int = 0) -> list[Row]:
    """Two rows a pair: the same 10 to 20 tokens, then an answer each of 3 to 12, which is learnt."""
    draw = np.random.default_rng(seed)
    rows = []
    for pair in range(pairs):
        asked = draw.integers(5, vocabulary, draw.integers(10, 20))
        for number in (2 * pair, 2 * pair + 1):
            said = draw.integers(5, vocabulary, draw.integers(3, 12))
            weights = np.r_[np.zeros(len(asked)), np.ones(len(said))].astype(np.float32)
            rows.append(Row(np.r_[asked, said], weights, number))
    return rows


def pair_columns(rows: Sequence[Row], seed: int = 0) -> dict[str, np.ndarray]:
    """Pairs of weight 1, whose answers had some log-probability at step 0."""
    reference = np.random.default_rng(seed).normal(-6, 0.5, len(rows)) * [row.weights.sum() for row in rows]
    return {"row_weight": np.ones(len(rows), np.float32), "reference_logp": reference}


def pair_maker(rows: list[Row], share_prefix: bool) -> Make:
    """As `batch_maker`, of the numbers and weights of pairs."""
    make = batch_maker(rows, pair_columns(rows), share_prefix)

    def make_pairs(numbers: Sequence[int], scale: Any = 1.0) -> Batch:
        return make([2 * i + k for i in numbers for k in (0, 1)], np.repeat(scale, 2) if np.ndim(scale) else scale)

    return make_pairs


def batch_maker(
    rows: list[Row], columns: dict[str, np.ndarray] | None = None, share_prefix: bool = False,
    targets: dict[str, list[np.ndarray]] | None = None,
) -> Make:  # fmt: skip
    """A function of row numbers and weights (one for all, or one each) that packs them.

    `targets` holds further values of each token of each row; those of tokens that count go into `target_columns`.
    """

    def make(numbers: Sequence[int], scale: Any = 1.0) -> Batch:
        factor = np.broadcast_to(np.asarray(scale, np.float32), len(rows) if np.ndim(scale) else len(list(numbers)))
        chosen = [Row(rows[i].ids, rows[i].weights * factor[k], rows[i].number) for k, i in enumerate(numbers)]
        given = dict(columns or {})
        if "row_weight" in given:
            given["row_weight"] = given["row_weight"].copy()
            given["row_weight"][list(numbers)] *= factor
        batch = pack(chosen, given, share_prefix)
        counted = [(row.number, np.flatnonzero(row.weights[1:]) + 1) for row in chosen]
        found = {
            name: np.concatenate([own[n][places] for n, places in counted]) for name, own in (targets or {}).items()
        }
        return replace(batch, target_columns={name: torch.from_numpy(values) for name, values in found.items()})

    return make


def taught_maker(rows: list[Row], k: int = 5) -> Make:
    """As `batch_maker`, with what some teacher might have said about each target."""
    draw, targets = np.random.default_rng(3), sum(np.count_nonzero(row.weights[1:]) for row in rows)
    mass = draw.dirichlet(np.ones(k + 1), targets)
    ids = np.stack([draw.permutation(300)[:k] for _ in range(targets)])
    said = {"teacher_ids": ids.astype(np.int32), "teacher_logprobs": np.log(mass).astype(np.float32)}
    plain, source = batch_maker(rows), RowsInMemory(rows)
    return lambda numbers, scale=1.0: with_targets(lambda own: [plain(own, scale)], source, said)(numbers)[0]


class RowsInMemory:
    """Rows as a stream wants them."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows, self.lengths = rows, np.array([len(row.ids) for row in rows])

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, index: int, /) -> tuple[np.ndarray, np.ndarray]:
        return self.rows[index].ids, self.rows[index].weights


def drawn_columns(rows: list[Row], seed: int = 0) -> dict[str, list[np.ndarray]]:
    """What a rollout knows of each token, in float32: probabilities near those of a random model, anything else."""
    draw = np.random.default_rng(seed)
    level = {"old_logp": -6.0, "reference_logp": -6.0, "advantage": 0.0, "return": 0.5}
    return {
        name: [(mean + draw.normal(0, 1, len(row.ids))).astype(np.float32) for row in rows]
        for name, mean in level.items()
    }


def value_policy(folder: Path, adapter: Adapter = Adapter(lora_r=4, lora_alpha=8.0)) -> Policy:
    """A LoRA policy with a value head, neither of them at zero."""
    policy = make_policy(files_of(folder), adapter, seed=1)
    policy.value_head = torch.nn.Linear(policy.lm_head.in_features, 1)  # type: ignore[union-attr]
    return settled(policy, torch.float64)


def gradient(policy: Policy, objective: Objective, batches: Sequence[Batch], lanes: int = 1) -> Tensor:
    """The gradient of one step, all parameters in one vector."""
    units = {name: sum(objective.count(batch)[name] for batch in batches) for name in objective.units}
    plan = Plan(Train(learning_rate=1.0), policy.trainable(), 1, lanes)
    assert len(list(plan.backward(policy, objective, batches, units))) == len(batches)
    found = torch.cat([p.grad.flatten() for p in policy.trainable().values() if p.grad is not None])
    for parameter in policy.trainable().values():
        parameter.grad = None
    return found


def distance(a: Tensor, b: Tensor) -> float:
    """The length of the difference over the length of the first."""
    return float((a - b).norm() / a.norm())


Case = Callable[[Path, Path], tuple[Policy, Objective, Make]]
"""(a tiny llama, a tiny bert) → a policy, an objective, and what makes its batches."""
EXCLUSIVE = {"label": np.array([0, 1, 2, 0, 1, 2]), "row_weight": np.ones(6, np.float32)}


def build(name: str, several_labels: bool = False, handed: Mapping[str, Any] = {}, **settings: Any) -> Objective:
    return TABLE[name](Settings(type=name, **settings), several_labels, **handed)  # type: ignore[arg-type]


def adapter_cases() -> dict[str, Case]:
    """Every kind of adapter but the most usual ones."""
    prefix, prompt = (Adapter(type=kind, num_virtual_tokens=5) for kind in ("prefix", "prompt"))  # type: ignore[arg-type]
    dora, ia3 = Adapter(lora_r=4, lora_alpha=8.0, use_dora=True), Adapter(type="ia3")
    adalora, small = Adapter(type="adalora", init_r=4, target_r=2), Adapter(type="bottleneck", bottleneck_size=8)
    return {
        "sft, prefix": lambda llama, bert: (
            language_policy(llama, prefix), build("sft"), batch_maker(language_rows(shared=20), share_prefix=True)),
        "sft, prompt": lambda llama, bert: (
            language_policy(llama, prompt), build("sft"), batch_maker(language_rows(shared=20), share_prefix=True)),
        "classify, prefix on an encoder": lambda llama, bert: (
            class_policy(bert, prefix), build("classify"), batch_maker(language_rows(90), EXCLUSIVE)),
        "classify, prompt on an encoder": lambda llama, bert: (
            class_policy(bert, prompt), build("classify"), batch_maker(language_rows(90), EXCLUSIVE)),
        "sft, dora": lambda llama, bert: (language_policy(llama, dora), build("sft"), batch_maker(language_rows())),
        "sft, ia3": lambda llama, bert: (language_policy(llama, ia3), build("sft"), batch_maker(language_rows())),
        "sft, bottleneck": lambda llama, bert: (
            language_policy(llama, small), build("sft"), batch_maker(language_rows())),
        "sft, adalora": lambda llama, bert: (
            language_policy(llama, adalora), build("sft"), batch_maker(language_rows())),
        "classify, bottleneck": lambda llama, bert: (
            class_policy(bert, small), build("classify"), batch_maker(language_rows(90), EXCLUSIVE)),
    }  # fmt: skip


def pair_cases() -> dict[str, Case]:
    """Objectives that learn from preference pairs."""
    lora, head, full = Adapter(lora_r=4, lora_alpha=8.0), Adapter(type="head"), Adapter(type="full")
    return {
        "dpo, lora": lambda llama, bert: (language_policy(llama), build("dpo"), pair_maker(pair_rows(), True)),
        "dpo, full, label smoothing": lambda llama, bert: (
            language_policy(llama, full), TABLE["dpo"](Settings(type="dpo", beta=0.3, label_smoothing=0.2), False),
            pair_maker(pair_rows(), False)),
        "reward, lora on a decoder": lambda llama, bert: (
            class_policy(llama, lora, ("reward",)), build("reward"), pair_maker(pair_rows(), True)),
        "reward, head on an encoder": lambda llama, bert: (
            class_policy(bert, head, ("reward",)), build("reward"), pair_maker(pair_rows(90), False)),
    }  # fmt: skip


def objective_cases() -> dict[str, Case]:
    """Every objective of the TABLE with the policies it is meant for."""
    lora, head, full = Adapter(lora_r=4, lora_alpha=8.0), Adapter(type="head"), Adapter(type="full")
    several = EXCLUSIVE | {"label": np.array([[1, 0, 1]] * 3 + [[0, 1, 0]] * 3, np.float32)}

    def answers(shared: int = 0) -> Make:
        rows, columns = language_rows(shared=shared), {"row_weight": np.ones(6, np.float32)}
        return batch_maker(rows, columns, shared > 0, drawn_columns(rows))

    return {
        **adapter_cases(),
        **pair_cases(),
        "sft, lora": lambda llama, bert: (language_policy(llama), build("sft"), batch_maker(language_rows())),
        "sft, shared prefix": lambda llama, bert: (
            language_policy(llama), build("sft"), batch_maker(language_rows(shared=20), share_prefix=True)),
        "distill, live teacher": lambda llama, bert: (
            language_policy(llama), build("distill", handed={"teacher": language_policy(llama, seed=4)}),
            batch_maker(language_rows(shared=20), share_prefix=True)),
        "distill, stored, all weights": lambda llama, bert: (
            language_policy(llama, full), build("distill", divergence="js"), taught_maker(language_rows())),
        "together, rows of one part": lambda llama, bert: (
            language_policy(llama), together({"a": Part(build("sft"), 0.3), "b": Part(build("pretrain"))}),
            batch_maker(language_rows(), {TASK: np.zeros(6, np.int64)})),
        "together, labels beside answers": lambda llama, bert: (
            class_policy(llama, lora), together({"a": Part(build("sft")), "b": Part(build("classify"), 0.3)}),
            batch_maker(language_rows(), EXCLUSIVE | {TASK: np.ones(6, np.int64)})),
        "pretrain, full": lambda llama, bert: (
            language_policy(llama, full), build("pretrain"), batch_maker(language_rows())),
        "classify, head on an encoder": lambda llama, bert: (
            class_policy(bert, head), build("classify"), batch_maker(language_rows(90), EXCLUSIVE)),
        "classify, all of an encoder": lambda llama, bert: (
            class_policy(bert, full), build("classify"), batch_maker(language_rows(90), EXCLUSIVE)),
        "classify, lora on a decoder": lambda llama, bert: (
            class_policy(llama, lora), build("classify"), batch_maker(language_rows(), EXCLUSIVE)),
        "classify, several labels": lambda llama, bert: (
            class_policy(bert, head), build("classify", True), batch_maker(language_rows(90), several)),
        "grpo": lambda llama, bert: (language_policy(llama), build("grpo"), answers(20)),
        "grpo, a constant in place of the length": lambda llama, bert: (
            language_policy(llama), build("grpo", loss_type="dr_grpo", temperature=0.7, kl_coef=0.1), answers()),
        "ppo, with a penalty": lambda llama, bert: (value_policy(llama), build("ppo", kl_coef=0.1), answers(20)),
    }  # fmt: skip
