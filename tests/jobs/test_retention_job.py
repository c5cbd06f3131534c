"""What tuning cost: the base is asked once a home, the tuned model in every run."""

from __future__ import annotations

from pathlib import Path

import pytest
from works import CHATS, ready_of, recipe, work_of

from luthier.jobs.fit import fit
from luthier.jobs.retention import forgetting
from luthier.models.load import load_base
from luthier.store import Home


def test_a_base_is_asked_once_and_says_the_same_in_the_next_run(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[int] = []
    monkeypatch.setattr("luthier.jobs.retention.load_base", lambda *given: loaded.append(1) or load_base(*given))
    home = Home(tmp_path / "home")
    train = {"max_steps": 1, "batch_size": 4, "learning_rate": 1e-2}
    ready = ready_of(recipe(tmp_path, tiny_llama, CHATS, train=train), home)
    first, second = work_of(ready, home), work_of(ready, home)
    found = []
    for work in (first, second):
        fit(work, lambda: None)
        found.append(forgetting(work))
    assert loaded == [1]
    assert found[0] == found[1]
    for part in ("questions", "text_nll"):
        base, again = (work.folder / "scores" / f"retention-{part}-base.jsonl" for work in (first, second))
        assert base.read_text().splitlines()[1:] == again.read_text().splitlines()[1:]
    fresh = work_of(ready_of(recipe(tmp_path, tiny_llama, CHATS, train=train), Home(tmp_path / "other")),
                    Home(tmp_path / "other"))  # fmt: skip
    fit(fresh, lambda: None)
    assert forgetting(fresh) == found[0]
    assert loaded == [1, 1]
