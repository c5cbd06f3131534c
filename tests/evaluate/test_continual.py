"""What is left of a task after another: the numbers, and that EWC and replay keep more of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from policies import RowsInMemory, files_of

from luthier.data.batch import pack
from luthier.data.forest import Row
from luthier.data.rendered import Joined
from luthier.data.stream import Stream, packed
from luthier.engine.checkpoint import Checkpoints
from luthier.engine.elastic import empirical_fisher, hold
from luthier.engine.loop import train
from luthier.engine.plan import Plan
from luthier.engine.seams import Seams
from luthier.evaluate.continual import average, backward_transfer, learn_in_turn
from luthier.models.load import make_policy
from luthier.models.policy import Policy
from luthier.models.score import row_nll
from luthier.objectives import TABLE
from luthier.recipe import Adapter, Objective, Train

SFT = TABLE["sft"](Objective(), False)


def test_the_matrix_is_filled_row_by_row() -> None:
    learnt: list[int] = []
    scores = learn_in_turn(3, learnt.append, lambda task: 1.0 - 0.2 * (len(learnt) - 1 - task))
    assert learnt == [0, 1, 2]
    np.testing.assert_allclose(scores, [[1.0, 1.2, 1.4], [0.8, 1.0, 1.2], [0.6, 0.8, 1.0]])
    assert average(scores) == pytest.approx(0.8)
    assert backward_transfer(scores) == pytest.approx((-0.4 - 0.2) / 2)
    with pytest.raises(ValueError, match="one task"):
        backward_transfer(np.ones((1, 1)))


def task_rows(number: int, rows: int = 24) -> RowsInMemory:
    """Eight tokens of a question, the last of them the task's own, and an answer of four that follows from it."""
    draw = np.random.default_rng(number)
    asked = draw.integers(20, 200, (rows, 7))
    answers = np.stack([(asked[:, k] * 7 + 31 * number) % 150 + 200 for k in range(4)], 1)
    ids = np.concatenate([asked, np.full((rows, 1), 10 + number), answers], 1)
    weights = np.r_[np.zeros(8), np.ones(4)].astype(np.float32)
    return RowsInMemory([Row(own, weights, i) for i, own in enumerate(ids)])


def learn(policy: Policy, rows: RowsInMemory | Joined, folder: Path, seams: Seams = Seams(), steps: int = 120) -> None:
    stream = Stream(packed(rows, 400), len(rows), 12, 12 * steps)  # type: ignore[arg-type]
    plan = Plan(Train(learning_rate=3e-3, max_grad_norm=1.0), policy.trainable(), steps, seams=seams)
    train(policy, SFT, stream, plan, Checkpoints(folder, steps))


def scores_of(model: Path, folder: Path, second: Callable[[Policy], tuple[RowsInMemory | Joined, Seams]]) -> np.ndarray:
    """R on two tasks; `second` says what is learnt, and how, as the second one."""
    policy = make_policy(files_of(model), Adapter(type="full"))
    tasks = [task_rows(0), task_rows(1)]

    def turn(task: int) -> None:
        rows, seams = second(policy) if task else (tasks[0], Seams())
        learn(policy, rows, folder / str(task), seams)

    def score(task: int) -> float:
        nll, weight = row_nll(policy, tasks[task], 2000)  # type: ignore[arg-type]
        return -float(nll.sum() / weight.sum())

    return learn_in_turn(2, turn, score)


@pytest.mark.slow
def test_ewc_and_replay_forget_less(tiny_llama: Path, tmp_path: Path) -> None:
    first, then = task_rows(0), task_rows(1)

    def held(policy: Policy) -> tuple[RowsInMemory, Seams]:
        fisher = empirical_fisher(policy, SFT, (pack([row]) for row in first.rows))
        return then, Seams(after_backward=(hold(1e4, fisher, policy.trainable()),))

    plain = scores_of(tiny_llama, tmp_path / "plain", lambda policy: (then, Seams()))
    ewc = scores_of(tiny_llama, tmp_path / "ewc", held)
    replay = scores_of(tiny_llama, tmp_path / "replay", lambda policy: (Joined((then, first)), Seams()))  # type: ignore[arg-type]
    lost = {name: backward_transfer(found) for name, found in (("plain", plain), ("ewc", ewc), ("replay", replay))}
    print(lost, plain, ewc, replay, sep="\n")
    torch.testing.assert_close(plain[0], ewc[0])
    assert lost["plain"] < -1
    assert lost["plain"] < 1.5 * lost["ewc"]
    assert lost["plain"] < 2 * lost["replay"]
    assert min(found[1, 1] for found in (plain, ewc, replay)) > plain[0, 1] + 1
