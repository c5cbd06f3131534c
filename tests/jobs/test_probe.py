"""The probe before the first step: it finds the heaviest micro-batches, smaller ones that fit, and leaves no trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from works import CHATS, DRY, PAIRS, Events, ready_of, recipe, work_of

import luthier.jobs.probe as probes
from luthier.data.batch import Batch, unpacked
from luthier.engine.probe import Prober, Trial
from luthier.errors import TrainingError
from luthier.jobs.fit import fit
from luthier.jobs.foretell import validations
from luthier.jobs.operations import Operations
from luthier.jobs.spent import FORECAST
from luthier.jobs.trials import ROUNDS, Trials, with_micro_batches
from luthier.jobs.workbench import Work
from luthier.store import Home

LONG = {"prompt": "what does the lute cost?", "completion": " ".join(["euros"] * 60)}
ROWS = [*CHATS[:20], LONG, *CHATS[20:]]
SHORT = {
    "max_steps": 6, "batch_size": 4, "learning_rate": 1e-2, "eval_steps": 3, "save_steps": 3, "rehearsal": 0,
}  # fmt: skip
GRPO = {
    "objective": {"type": "grpo", "reward": "exact_match", "num_generations": 2}, "evaluate": {"max_new_tokens": 8},
}  # fmt: skip


def a_work(folder: Path, model: Path, rows: list[dict] = ROWS, events: Events | None = None, **sections: Any) -> Work:
    home = Home(folder / "home")
    settings = {"train": SHORT, "splits": {"validation": 0.1, "test": 0.1}, **sections}
    return work_of(ready_of(recipe(folder, model, rows, **settings), home), home, events)


def learnt(work: Work) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (work.folder / "adapter").glob("*.safetensors")}


def kept(work: Work) -> dict[str, Any]:
    return json.loads((work.folder / "probe.json").read_text())


def forgo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit as if there were no probe."""

    def nothing(work: Work, policy: Any, feed: Any, *rest: Any) -> Any:
        sizes = {name: work.plan.forecast[name] for name in ("micro_batch_tokens", "lanes")}
        return work, feed, {"micro_batches": sizes, "forecast": {"validation_seconds": 0.0}, "kept_seconds": 0.0}

    monkeypatch.setattr(probes, "probe", nothing)


def weighing(monkeypatch: pytest.MonkeyPatch, bytes_a_token: float) -> list[tuple[int, int]]:
    """Let trials measure so many bytes for each token; the tokens and lanes of each that is run."""
    seen: list[tuple[int, int]] = []

    def tried(prober: Prober, batches: list[Batch], lanes: int) -> Trial:
        tokens = [len(batch.ids_T) for batch in batches]
        seen.append((max(tokens), len(tokens)))
        return Trial(1e-6, 0, sum(tokens) * bytes_a_token)

    monkeypatch.setattr(Prober, "__call__", tried)
    return seen


@pytest.mark.parametrize(
    ("rows", "sections"),
    [
        (ROWS, {"adapter": {"lora_dropout": 0.2}}),
        (PAIRS, {"objective": "dpo"}),
        (CHATS, GRPO),
        (ROWS, {"adapter": {"type": "adalora", "init_r": 4, "target_r": 2}}),
    ],
    ids=["dropout", "dpo", "grpo", "adalora"],
)
def test_a_fit_with_a_probe_learns_the_same_bytes(
    rows: list[dict], sections: dict, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = a_work(tmp_path / "with", tiny_llama, rows, **sections)
    fit(tried, lambda: None)
    forgo(monkeypatch)
    plain = a_work(tmp_path / "without", tiny_llama, rows, **sections)
    fit(plain, lambda: None)
    assert learnt(tried) == learnt(plain)
    assert kept(tried)["forecast"]["seconds"] > 0


def test_the_heaviest_micro_batch_is_tried_before_the_usual_ones(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = a_work(tmp_path, tiny_llama, train=SHORT | {"num_epochs": 1, "max_steps": None})
    seen = weighing(monkeypatch, 1.0)
    fit(work, lambda: None)
    tokens = [size for size, _ in seen]
    longest = int(work.rendered["train"].lengths.max())
    assert tokens[0] < tokens[1] < longest / 2, "a row of usual length, and some of them"
    assert tokens[2] == max(tokens) >= longest
    assert len(tokens) == 3 + ROUNDS


def test_what_does_not_fit_is_halved_until_it_does_and_said(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = Events()
    work = a_work(tmp_path, tiny_llama, events=events, train=SHORT | {"batch_size": 32}, machine=DRY | {"threads": 2})
    work = with_micro_batches(work, 1024, 2)
    longest = int(work.rendered["train"].lengths.max())
    seen = weighing(monkeypatch, 4e9 / (2.5 * longest))
    fit(work, lambda: None)
    assert kept(work)["micro_batches"] == {"micro_batch_tokens": max(longest, 256), "lanes": 2}
    assert all(tokens * lanes <= 2.5 * longest for tokens, lanes in seen)
    (warning,) = events.of("warning")
    assert "1024 tokens in 2 lanes do not fit into machine.memory" in warning
    assert kept(work)["forecast"]["peak_memory_bytes"] <= 4e9


def test_a_run_that_goes_on_takes_the_micro_batches_that_were_chosen(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(100))
    works = [a_work(tmp_path / name, tiny_llama, train=SHORT | {"batch_size": 16}) for name in "ab"]
    with monkeypatch.context() as patch:
        weighing(patch, 2e7)
        fit(works[0], lambda: None)
        fit(works[1], lambda: "pause" if next(calls) == 3 else None)
    fit(works[1], lambda: None)
    assert learnt(works[0]) == learnt(works[1])
    assert kept(works[0])["micro_batches"]["micro_batch_tokens"] < 1024


def test_where_there_is_no_time_only_a_row_is_tried(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.jobs.trials.LEAST_SECONDS", 0.0)
    monkeypatch.setattr("luthier.jobs.trials.SHARE", 0.0)
    work = a_work(tmp_path, tiny_llama)
    seen = weighing(monkeypatch, 1.0)
    fit(work, lambda: None)
    assert len(seen) == 2


def test_a_gpu_without_room_takes_smaller_ones_and_at_last_refuses(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 10_000

    def tried(prober: Prober, batches: list[Batch], lanes: int) -> Trial:
        if max(len(batch.ids_T) for batch in batches) > room:
            raise torch.OutOfMemoryError
        return Trial(1e-6, 0, 1.0)

    monkeypatch.setattr(Prober, "__call__", tried)
    work = a_work(tmp_path / "a", tiny_llama, train=SHORT | {"batch_size": 16})
    room = longest = int(work.rendered["train"].lengths.max())
    fit(work, lambda: None)
    assert kept(work)["micro_batches"]["micro_batch_tokens"] <= 2 * longest
    room = 10
    with pytest.raises(TrainingError, match=r"does not fit into the memory of the GPU.*train\.sequence_len"):
        fit(a_work(tmp_path / "b", tiny_llama), lambda: None)


def test_where_a_pass_takes_all_processes_a_full_gpu_ends_the_run_with_a_word() -> None:
    class Shared:
        together = True

        def trainable(self) -> dict[str, torch.Tensor]:
            return {}

    class Full:
        policy, room = Shared(), 10_000

        def __call__(self, batches: list[Batch], lanes: int) -> Trial:
            raise torch.OutOfMemoryError

    batch = unpacked(np.arange(3), np.full(3, 5), {})
    with pytest.raises(TrainingError, match=r"do not fit into the memory of the GPU.*train\.sequence_len"):
        Trials(Full(), Operations(1, 0, 0), 0.0).run([batch], 1)  # type: ignore[arg-type]


def test_bytes_are_foretold_by_the_token_beside_the_gradients(tiny_llama: Path, tmp_path: Path) -> None:
    """A lane holds its activations and its gradient; beside them stand their sum and two moments of AdamW."""

    class Weights:
        together = False

        def trainable(self) -> dict[str, torch.Tensor]:
            return {"w": torch.zeros(25)}

    gradient, held, each = 100, 5000, 7
    trials = Trials(Prober(Weights(), None, None, None), Operations(1, 0, 0), 0.0)  # type: ignore[arg-type]
    trials.seen = [(999, 1, 1.0, Trial(9.0, held, 9.0)), (40, 1, 40.0, Trial(2.0, held, 40 * each + 2 * gradient))]
    assert trials.foretold(40, 1) == held + 40 * each + 2 * gradient + 2 * gradient
    assert trials.foretold(80, 2) == held + 2 * (80 * each + gradient) + gradient + 2 * gradient
    assert trials.operation_seconds == 2.0 / 40
    trials.seen.append((60, 2, 120.0, Trial(1.2, held, 2 * (60 * each + gradient) + gradient)))
    assert trials.foretold(60, 2) == held + trials.seen[-1][3].extra + 2 * gradient
    assert trials.operation_seconds == 0.01


def test_validations_are_those_that_the_fit_has(tiny_llama: Path, tmp_path: Path) -> None:
    from luthier.store import runs

    work = a_work(tmp_path, tiny_llama, train=SHORT | {"max_steps": 7})
    fit(work, lambda: None)
    assert validations(work, 7) == len(runs.metrics(work.home, work.plan.run_id, "validation_nll")) == 3


def test_the_forecast_holds_together(tiny_llama: Path, tmp_path: Path) -> None:
    work = a_work(tmp_path, tiny_llama)
    result = fit(work, lambda: None)
    found = kept(work)["forecast"]
    assert found["seconds"] == pytest.approx(6 * found["step_seconds"] + 2 * found["validation_seconds"])
    assert found["job_seconds"] > found["seconds"] + found["before_seconds"]
    assert found["peak_memory_bytes"] == pytest.approx(result["peak_memory_bytes"], rel=0.2)


@pytest.mark.parametrize(("rows", "sections"), [(ROWS, {}), (PAIRS, {"objective": "dpo"})], ids=["sft", "dpo"])
def test_a_recipe_can_be_probed_without_a_run(
    rows: list[dict], sections: dict, tiny_llama: Path, tmp_path: Path
) -> None:
    from luthier.jobs.check import check
    from luthier.store import runs

    home, remarks = Home.open(tmp_path / "home"), []
    path = recipe(tmp_path, tiny_llama, rows, train=SHORT, **sections)
    document = check(path, (), home, remarks.append, probe=True)
    assert document["probe"]["forecast"].keys() >= set(FORECAST)
    assert document["probe"]["micro_batches"]["lanes"] == 1
    assert any(text.startswith("measured: ") for text in remarks)
    assert runs.list(home) == []
    assert check(path, (), home)["probe"] is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_peak_is_foretold(tiny_llama: Path, tmp_path: Path) -> None:
    work = a_work(tmp_path, tiny_llama, machine=DRY | {"device": "cuda"})
    result = fit(work, lambda: None)
    assert kept(work)["forecast"]["peak_memory_bytes"] == pytest.approx(result["peak_memory_bytes"], rel=0.2)
