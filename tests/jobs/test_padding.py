"""A run on a model that cannot be packed: it says so, trains, and answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from families import folder_of
from works import CHATS, ready_of, recipe, work_of

from luthier.jobs.fit import fit
from luthier.jobs.prepare import data_part
from luthier.jobs.warnings import warnings
from luthier.models.padded import Padded
from luthier.models.sample import sample


def test_falcon_learns_in_padded_rows_and_says_so(tmp_path: Path, tiny_llama: Path, home: Any) -> None:
    model = folder_of("falcon", tmp_path, tiny_llama, max_position_embeddings=256)
    settings = {"max_steps": 6, "batch_size": 8, "learning_rate": 1e-2, "rehearsal": 0.0}
    ready = ready_of(recipe(tmp_path / "run", model, CHATS, train=settings), home)
    assert any("falcon models cannot be packed" in line for line in warnings(ready, data_part(ready, None)))
    work = work_of(ready, home)
    assert fit(work, lambda: None)["reason"] == "plan complete"
    policy = work.tuned()
    assert isinstance(policy.trunk, Padded)
    prompt = ready.rendered["train"].row(0)[0][:20].tolist()
    assert len(sample(policy, [prompt], max_new_tokens=3, stop_ids=[])[0]) == 3
