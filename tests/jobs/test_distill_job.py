"""Distillation as a job: a live teacher, a teacher that is read once, and teachers that cannot teach."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from factory import write_tiny_llama
from works import CHATS, ready_of, recipe, work_of

from luthier.errors import RecipeError
from luthier.jobs.feeds.feed import reached
from luthier.jobs.feeds.language import learnt_rows
from luthier.jobs.fit import fit
from luthier.jobs.workbench import Work
from luthier.models.load import load_base
from luthier.store import Home

SHORT = {"max_steps": 4, "batch_size": 4, "learning_rate": 1e-2, "eval_steps": 2, "save_steps": 2}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("teacher") / "tiny-teacher", seed=5)


def path_of(folder: Path, model: Path, teacher: Path, **objective: object) -> Path:
    return recipe(folder, model, CHATS, objective={"type": "distill", "teacher": str(teacher), **objective},
                  train=SHORT)  # fmt: skip


def learnt(work: Work) -> bytes:
    return (work.folder / "adapter" / "adapter_model.safetensors").read_bytes()


def test_a_stored_teacher_is_loaded_once(
    tiny_llama: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, loaded = Home(tmp_path / "home"), []
    monkeypatch.setattr("luthier.jobs.feeds.teacher.load_base", lambda *given: loaded.append(1) or load_base(*given))
    ready = ready_of(path_of(tmp_path, tiny_llama, teacher, top_k=8), home)
    first, second = work_of(ready, home), work_of(ready, home)
    results = [fit(work, lambda: None) for work in (first, second)]
    assert [result["steps"] for result in results] == [4, 4]
    assert learnt(first) == learnt(second)
    assert len(loaded) == 1
    live = work_of(ready_of(path_of(tmp_path, tiny_llama, teacher), home), home)
    fit(live, lambda: None)
    assert len(loaded) == 2
    assert learnt(live) != learnt(first)


def test_a_stored_teacher_reads_only_the_rows_that_are_learnt(tiny_llama: Path, teacher: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    work = work_of(ready_of(path_of(tmp_path, tiny_llama, teacher, top_k=8), home, "train.max_steps=1"), home)
    fit(work, lambda: None)
    (said,) = home.cache("teachers").glob("*/teacher_ids.npy")
    rows = learnt_rows(work)
    learnt = sum(int(np.count_nonzero(rows.row(i)[1])) for i in reached(work, len(rows)))
    assert len(np.load(said)) == learnt < 5 * max(int(np.count_nonzero(rows.row(i)[1])) for i in range(len(rows)))


def test_the_forecast_counts_a_live_teacher(tiny_llama: Path, teacher: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    live, stored = (
        ready_of(path_of(tmp_path / str(k), tiny_llama, teacher, top_k=k), home).forecast for k in (None, 8)
    )
    assert live.peak_memory_bytes > stored.peak_memory_bytes
    assert live.seconds > 0


def test_what_cannot_teach_is_refused(tiny_llama: Path, tiny_bert: Path, teacher: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    other = shutil.copytree(teacher, tmp_path / "other")
    tokens = json.loads((other / "tokenizer.json").read_text())
    tokens["model"]["vocab"]["!!"] = tokens["model"]["vocab"].pop("!")
    tokens["model"]["merges"] = [m for m in tokens["model"]["merges"] if "!" not in "".join(m)]
    (other / "tokenizer.json").write_text(json.dumps(tokens))
    with pytest.raises(RecipeError, match=r"objective.teacher: .*different tokens \(2 of them differ\)"):
        ready_of(path_of(tmp_path, tiny_llama, other), home)
    with pytest.raises(RecipeError, match="different tokens"):
        ready_of(path_of(tmp_path, tiny_llama, tiny_bert), home)
    with pytest.raises(RecipeError, match=r"objective.top_k` is 400, but the vocabulary has \d+ tokens"):
        ready_of(path_of(tmp_path, tiny_llama, teacher, top_k=400), home)
