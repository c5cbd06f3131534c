"""The loss of each training row, kept and shown."""

from __future__ import annotations

from pathlib import Path

from works import CHATS, CLASSES, classes, ready_of, recipe, work_of

from luthier.jobs.fit import fit
from luthier.jobs.hardest import RowLosses, hardest
from luthier.store import Home


def test_a_wrong_label_has_the_largest_loss(tiny_bert: Path, tmp_path: Path) -> None:
    rows = [*CLASSES, {"text": "the spruce top and the maple back, number 77", "label": "money"}]
    home, splits = Home(tmp_path / "home"), {"validation": 0, "test": 0.1, "seed": 3}
    work = work_of(ready_of(classes(tmp_path, tiny_bert, rows, splits=splits), home), home)
    fit(work, lambda: None)
    found = hardest(work)
    assert found[0] | {"loss": 0} == {
        "row_id": f"rows.jsonl:{len(rows)}", "loss": 0, "question": rows[-1]["text"], "answer": "money"}  # fmt: skip
    assert [row["loss"] for row in found] == sorted((row["loss"] for row in found), reverse=True)
    assert len(found) == 10


def test_losses_outlive_the_process_and_leave_rehearsed_passages_out(tiny_llama: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    train = {"num_epochs": 1, "batch_size": 8, "rehearsal": 0.5}
    work = work_of(ready_of(recipe(tmp_path, tiny_llama, CHATS, train=train), home), home)
    fit(work, lambda: None)
    kept = RowLosses(work, 1).losses
    assert sorted(map(int, kept)) == list(range(len(work.rows["train"])))
    assert hardest(work)[0]["answer"].endswith("euros")
