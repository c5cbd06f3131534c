"""Two processes learn what one does, however the model is divided among them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from policies import distance
from ranks import curve, fit_apart, fit_one, work_for
from safetensors.torch import load_file
from works import CHATS, CLASSES, PAIRS, recipe

from luthier.engine.checkpoint import newest
from luthier.jobs.workbench import Work
from luthier.store import Home

pytestmark = pytest.mark.timeout(900)
STEPS = 5
SHORT = {"batch_size": 6, "max_steps": STEPS, "num_epochs": 1, "learning_rate": 3e-3, "eval_steps": 3,
         "rehearsal": 0, "save_steps": 2}  # fmt: skip
ROWS = 34
"""Rows for training after the split: the last of five steps has an odd number of them."""
FULL = {"type": "full"}
CLOSE = 1e-4
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "replicate, lora": ("replicate", "llama", {}),
    "replicate, all weights": ("replicate", "llama", {"adapter": FULL}),
    "replicate, classes": ("replicate", "bert", {"objective": "classify", "adapter": FULL}),
    "replicate, head": ("replicate", "bert", {"objective": "classify", "adapter": "head"}),
    "replicate, pairs": ("replicate", "llama", {"objective": "dpo"}),
    "fsdp, lora": ("fsdp", "llama", {}),
    "fsdp, all weights": ("fsdp", "llama", {"adapter": FULL}),
    "fsdp, classes": ("fsdp", "bert", {"objective": "classify", "adapter": FULL}),
    "fsdp, pairs": ("fsdp", "llama", {"objective": "dpo"}),
    "fsdp, recomputed": ("fsdp", "llama", {"train": {"gradient_checkpointing": True}}),
    "tensor, recomputed": ("tensor", "llama", {"train": {"gradient_checkpointing": True}, "adapter": FULL}),
    "tensor, lora": ("tensor", "llama", {}),
    "tensor, all weights": ("tensor", "llama", {"adapter": FULL}),
    "tensor, classes": ("tensor", "llama", {"objective": "classify"}),
    "replicate, float16": ("replicate", "llama", {"train": {"precision": "float16"}}),
    "fsdp, bfloat16": ("fsdp", "llama", {"train": {"precision": "bfloat16"}}),
    "fsdp, all weights, bfloat16": ("fsdp", "llama", {"adapter": FULL, "train": {"precision": "bfloat16"}}),
    "tensor, bfloat16": ("tensor", "llama", {"train": {"precision": "bfloat16"}}),
}
ROUNDED = 0.05
"""How far sixteen bits may be apart: sums are rounded in another order, by three digits each."""
RESUMED = ("replicate, lora", "fsdp, all weights", "tensor, lora")


def path_of(folder: Path, model: Path, sections: dict[str, Any]) -> Path:
    rows = {"classify": CLASSES, "dpo": PAIRS}.get(sections.get("objective", "sft"), CHATS)[:33]
    splits = {"test": 0.0, "validation": 0.12}
    train = {**SHORT, **sections.get("train", {})}
    return recipe(folder, model, rows, **{**sections, "train": train, "splits": splits, "ship": {"require": "nothing"}})


@pytest.fixture(scope="module")
def fits(tiny_llama: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Work, Work]]:
    """Of each case, the run by one process and the run by two; those that went on after a pause beside them."""
    folder, apart, found = tmp_path_factory.mktemp("fits"), [], {}
    home = Home(folder / "home")
    for name, (parallel, model, sections) in CASES.items():
        path = path_of(folder / name, {"llama": tiny_llama, "bert": tiny_bert}[model], sections)
        alone, two = work_for(path, home, 1, "replicate", 60), work_for(path, home, 2, parallel, 60)
        fit_one(alone)
        found[name] = (alone, two)
        apart.append((two, None))
        if name in RESUMED:
            again, less, more = (work_for(path, home, 2, parallel, 60) for _ in range(3))
            fit_one(more, 3)
            apart += [(again, 3), (again, None), (less, 3), (more, None)]
            found[f"{name}, resumed"] = (two, again)
            found[f"{name}, fewer"], found[f"{name}, more"] = (alone, less), (alone, more)
    fit_apart(apart, tmp_path_factory.mktemp("meeting"))
    return found


def learnt(work: Work) -> dict[str, torch.Tensor]:
    files = (work.folder / "adapter").glob("*.safetensors")
    return {f"{file.name}/{name}": value for file in files for name, value in load_file(file).items()}


def apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """The distance of all weights together, over their length; a weight without influence may move freely."""
    assert a.keys() == b.keys()
    both = (torch.cat([weights[name].flatten() for name in a]) for weights in (a, b))
    return distance(*both)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_learn_what_one_does(fits, name: str) -> None:
    alone, two = fits[name]
    wanted, found = curve(alone), curve(two)
    assert found.keys() == wanted.keys()
    assert len(wanted["loss"]) == STEPS
    for metric, values in wanted.items():
        assert [step for step, _ in found[metric]] == [step for step, _ in values]
        off = ROUNDED if "float16" in name else 1e-5
        assert [v for _, v in found[metric]] == pytest.approx([v for _, v in values], rel=off, abs=1e-5), metric
    assert apart(learnt(alone), learnt(two)) < (ROUNDED if "float16" in name else CLOSE)


@pytest.mark.parametrize("name", CASES)
def test_the_loss_of_each_row_is_kept(fits, name: str) -> None:
    wanted, found = (json.loads((work.folder / "losses.json").read_text()) for work in fits[name])
    assert found == pytest.approx(wanted, rel=ROUNDED if "float16" in name else 1e-4, abs=1e-5)


@pytest.mark.parametrize("name", RESUMED)
def test_a_fit_that_goes_on_equals_one_that_was_not_paused(fits, name: str) -> None:
    whole, resumed = fits[f"{name}, resumed"]
    weights = learnt(resumed)
    assert all(torch.equal(weights[name], value) for name, value in learnt(whole).items())
    assert curve(resumed) == curve(whole)


@pytest.mark.parametrize("name", RESUMED)
def test_fewer_processes_go_on(fits, name: str) -> None:
    alone, fewer = fits[f"{name}, fewer"]
    fit_one(fewer)
    assert apart(learnt(alone), learnt(fewer)) < CLOSE


@pytest.mark.parametrize("name", RESUMED)
def test_more_processes_go_on(fits, name: str) -> None:
    alone, more = fits[f"{name}, more"]
    assert apart(learnt(alone), learnt(more)) < CLOSE


@pytest.mark.parametrize("name", ["replicate, lora", "fsdp, lora", "fsdp, classes", "fsdp, pairs", "tensor, lora"])
def test_what_a_divided_fit_takes_is_tried_first(fits, name: str) -> None:
    _, two = fits[name]
    probe = json.loads((two.folder / "probe.json").read_text())
    assert probe["probe_seconds"] > 0
    assert probe["forecast"]["step_seconds"] > 0
    assert probe["forecast"]["peak_memory_bytes"] > 1e8
    assert probe["micro_batches"]["lanes"] >= 1


@pytest.mark.parametrize(("name", "less_than"), [("fsdp, all weights", 0.6), ("fsdp, lora", 0.6),
                                                 ("tensor, lora", 0.8)])  # fmt: skip
def test_each_process_writes_only_its_own_part(fits, name: str, less_than: float) -> None:
    """Of the checkpoint that one process alone writes, no process writes much more than what it holds."""
    whole, divided = (newest(work.folder / "checkpoints", "step") for work in fits[name])
    for file in ("weights", "optimizer"):
        size = (whole / f"{file}.safetensors").stat().st_size
        parts = [(divided / f"{file}.{number}.safetensors").stat().st_size for number in range(2)]
        assert max(parts) < less_than * size
        assert sum(parts) + (divided / f"{file}.safetensors").stat().st_size > size
