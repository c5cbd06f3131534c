"""A private fit as a job: what was promised stands in the plan, the reasons and the document."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from works import CHATS, CLASSES, ready_of, recipe, work_of

from luthier.engine.private import Draws
from luthier.jobs.document import about_part
from luthier.jobs.feeds import feed_of
from luthier.jobs.fit import fit
from luthier.models.load import make_policy
from luthier.store import Home

pytest.importorskip("opacus.accountants")
SHORT = {"max_steps": 4, "batch_size": 4, "learning_rate": 1e-2, "eval_steps": 2, "save_steps": 2}
PRIVACY = {"target_epsilon": 6, "target_delta": 1e-3, "noise_seed": 3}


def test_a_private_fit_keeps_its_promise(tiny_llama: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    ready = ready_of(recipe(tmp_path, tiny_llama, CHATS, privacy=PRIVACY, train=SHORT), home)
    first, second = work_of(ready, home), work_of(ready, home)
    assert [fit(work, lambda: None)["steps"] for work in (first, second)] == [4, 4]
    learnt = [(work.folder / "adapter" / "adapter_model.safetensors").read_bytes() for work in (first, second)]
    assert learnt[0] == learnt[1]
    promise = about_part(first)["privacy"]
    assert 5.9 < promise["epsilon"] <= 6
    assert promise["steps"] == 4
    reason = ready.resolved.reasons[-1]
    assert (reason.key, reason.value) == ("privacy.noise_multiplier", round(promise["noise_multiplier"], 4))
    assert "ε = 6 at δ = 0.001" in reason.why


def test_a_secret_seed_differs_from_run_to_run(tiny_llama: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    privacy = {"noise_multiplier": 1.0, "target_delta": 1e-3}
    ready = ready_of(recipe(tmp_path, tiny_llama, CHATS, privacy=privacy, train=SHORT), home)
    work = work_of(ready, home)
    policy = make_policy(work.files, work.recipe.adapter)
    draws = [feed_of(work, policy).source for _ in "ab"]
    assert all(isinstance(each, Draws) for each in draws)
    assert draws[0].state() != draws[1].state()


def test_a_private_head_begins_without_the_rows(tiny_bert: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    path = recipe(tmp_path, tiny_bert, CLASSES, privacy=PRIVACY, train=SHORT, adapter="head", objective="classify")
    work = work_of(ready_of(path, home), home)
    policy = make_policy(work.files, work.recipe.adapter, tuple(work.plan.labels))
    feed = feed_of(work, policy)
    feed.begin()
    assert policy.head is not None
    assert not any(np.any(parameter.detach().numpy()) for parameter in policy.head.parameters())
    assert all(batch.rows == 1 for step in range(4) for batch in feed.source.take(step))
    assert fit(work, lambda: None)["steps"] == 4
