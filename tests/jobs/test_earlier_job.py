"""Data that was learnt before: kept with the dataset version, replayed beside the new rows, and held on to."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file
from works import CHATS, ready_of, recipe, work_of

from luthier.data import version
from luthier.jobs.feeds.language import learnt_rows
from luthier.jobs.fit import fit
from luthier.jobs.prepare import Ready
from luthier.store import Home

SHORT = {"max_steps": 3, "batch_size": 4, "learning_rate": 1e-2, "rehearsal": 0}
OLD = [{"prompt": f"what does string {i} cost?", "completion": f"{i} cents"} for i in range(10)]


def ready_with(folder: Path, model: Path, home: Home, **train: object) -> Ready:
    folder.mkdir(parents=True)
    (folder / "old.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*OLD, *CHATS]))
    entries = [{"path": "rows.jsonl"}, {"path": "old.jsonl", "split": "earlier"}]
    return ready_of(recipe(folder, model, CHATS, data=entries, train={**SHORT, **train}), home)


def test_earlier_rows_are_replayed_beside_the_others(tiny_llama: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    work = work_of(ready_with(tmp_path / "a", tiny_llama, home, replay=2.0), home)
    own, rows = len(work.rows["train"]), learnt_rows(work)
    assert len(rows) == 3 * own
    earlier = {tuple(work.rendered["earlier"].row(i)[0]) for i in range(len(work.rendered["earlier"]))}
    replayed = [tuple(rows.row(i)[0]) for i in range(own, len(rows))]
    assert set(replayed) == earlier
    assert len(replayed) > len(earlier)
    assert list(rows.lengths[own:]) == [len(ids) for ids in replayed]
    assert fit(work, lambda: None)["steps"] == 3


def test_earlier_rows_stand_in_the_dataset_version(tiny_llama: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    ready = ready_with(tmp_path / "a", tiny_llama, home, replay=0.5)
    written = version.write(home, ready.data, ready.recipe)
    found = version.read(home, written.id, "earlier")
    assert [row.row_id for row in found] == [row.row_id for row in ready.data.splits["earlier"]]
    assert version.get(home, written.id).manifest["splits"]["earlier"] == len(found)
    assert len(found) == len(OLD) + len(ready.data.splits["train"])
    tested = {row.input_id for name in ("test", "validation") for row in ready.data.splits[name]}
    assert not tested & {row.input_id for row in found}
    without = ready_of(recipe(tmp_path / "b", tiny_llama, CHATS, train=SHORT), home)
    assert version.read(home, version.write(home, without.data, without.recipe).id, "earlier") == []


def test_weights_that_earlier_rows_depend_on_move_less(tiny_llama: Path, tmp_path: Path) -> None:
    home, moved = Home(tmp_path / "home"), []
    for strength in (1e-9, 1e6):
        work = work_of(ready_with(tmp_path / str(strength), tiny_llama, home, ewc_lambda=strength), home)
        assert len(learnt_rows(work)) == len(work.rows["train"])
        assert fit(work, lambda: None)["steps"] == 3
        weights = load_file(work.folder / "adapter" / "adapter_model.safetensors")
        moved.append(sum(float(value.norm()) for name, value in weights.items() if "lora_B" in name))
    assert moved[1] < moved[0]
