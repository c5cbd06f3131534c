"""Plain text that is learnt beside answers, as a second objective with a weight."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from works import CHATS, TEXTS, Events, ready_of, recipe, work_of

from luthier.jobs.feeds import feed_of
from luthier.jobs.fit import fit
from luthier.models.load import make_policy
from luthier.store import Home, runs


def test_text_is_learnt_beside_answers(tiny_llama: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in TEXTS))
    entries = [{"path": "rows.jsonl"}, {"path": "notes.jsonl", "split": "beside"}]
    train = {"max_steps": 3, "batch_size": 4, "learning_rate": 1e-2, "rehearsal": 0}
    path = recipe(tmp_path, tiny_llama, CHATS, data=entries, objective={"type": "sft", "beside": 0.3}, train=train)
    ready = ready_of(path, home)
    work = work_of(ready, home, Events())
    feed = feed_of(work, make_policy(work.files, work.recipe.adapter))
    batches = feed.source.take(0)
    assert sum(batch.rows for batch in batches) == 4 + round(4 * 40 / len(work.rows["train"]))
    assert all(batch.weight_N.numel() == len(batch.ids_T) - batch.rows for batch in batches if batch.column("task")[0])
    assert fit(work, lambda: None)["steps"] == 3
    told = {name: value for _, name, value in runs.metrics(home, work.plan.run_id)}
    assert told["loss"] == pytest.approx(told["sft/nll"] + told["beside/nll"], rel=1e-5)
    assert {int(n) for n in json.loads((work.folder / "losses.json").read_text())} <= set(
        range(len(work.rows["train"]))
    )
