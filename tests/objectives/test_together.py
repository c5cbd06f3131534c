"""Several objectives in one run: each part's gradient by its weight and its own units, whatever the other has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from policies import LABELS, RowsInMemory, batch_maker, distance, files_of, gradient, language_rows, settled

from luthier.data.batch import Batch
from luthier.data.stream import Interleaved, Stream, packed
from luthier.errors import TrainingError
from luthier.models.load import make_policy
from luthier.models.policy import Policy
from luthier.objectives import TABLE, Objective
from luthier.objectives.together import TASK, Part, together
from luthier.recipe import Adapter
from luthier.recipe import Objective as Settings

CLOSE = 1e-6
COLUMNS = {"label": np.array([0, 1, 2, 0, 1, 2]), "row_weight": np.linspace(0.5, 1.5, 6, dtype=np.float32)}


def build(name: str) -> Objective:
    return TABLE[name](Settings(type=name), False)  # type: ignore[arg-type]


PARTS = {"sft": Part(build("sft")), "classify": Part(build("classify"), 0.3)}


@pytest.fixture(scope="module")
def policy(tiny_llama: Path) -> Policy:
    """A decoder with a head beside its output layer."""
    return settled(make_policy(files_of(tiny_llama), Adapter(lora_r=4, lora_alpha=8.0), LABELS, seed=1), torch.float64)


def part(number: int, numbers: Any, scale: Any = 1.0) -> Batch:
    columns = {TASK: np.full(6, number)} | (COLUMNS if number else {})
    return batch_maker(language_rows(seed=number), columns)(numbers, scale)


def whole(policy: Policy, batches: list[Batch]) -> torch.Tensor:
    return gradient(policy, together(PARTS), batches)


def test_the_gradient_is_the_weighted_sum_of_the_parts(policy: Policy) -> None:
    both = whole(policy, [part(0, range(6)), part(1, range(6))])
    plan = [("sft", 0), ("classify", 1)]
    alone = {name: flat_gradient(policy, PARTS[name].objective, part(i, range(6))) for name, i in plan}
    assert distance(alone["sft"] + 0.3 * alone["classify"], both) < CLOSE


def flat_gradient(policy: Policy, objective: Objective, batch: Batch) -> torch.Tensor:
    """With zeros where a part has no gradient."""
    loss = sum(term.sum() / objective.count(batch)[name] for name, term in objective.score(policy, batch).terms.items())
    found = torch.autograd.grad(loss, list(policy.trainable().values()), materialize_grads=True)
    return torch.cat([one.flatten() for one in found])


def test_micro_batches_and_weights_of_a_part_change_nothing(policy: Policy) -> None:
    both = whole(policy, [part(0, range(6)), part(1, range(6))])
    assert distance(both, whole(policy, [part(k, [i]) for i in range(6) for k in (1, 0)])) < CLOSE
    assert distance(both, whole(policy, [part(0, range(6), 4.0), part(1, range(6))])) < CLOSE
    silent = whole(policy, [part(0, range(6), 0.0), part(1, range(6))])
    assert distance(0.3 * flat_gradient(policy, PARTS["classify"].objective, part(1, range(6))), silent) < CLOSE


def test_a_batch_has_the_terms_of_all_parts(policy: Policy) -> None:
    objective = together(PARTS)
    scored = objective.score(policy, part(1, range(6)))
    assert set(scored.terms) == set(objective.units) == {"sft/nll", "classify/cross_entropy"}
    assert set(scored.metrics) == {"classify/accuracy"}
    assert not scored.terms["sft/nll"].any()
    assert objective.count(part(1, range(6))) == {"sft/nll": 0.0, "classify/cross_entropy": pytest.approx(6.0)}


def test_a_micro_batch_belongs_to_one_part(policy: Policy) -> None:
    mixed = batch_maker(language_rows(), {TASK: np.array([0, 0, 1, 0, 0, 0])})(range(6))
    with pytest.raises(AssertionError, match="one part"):
        together(PARTS).score(policy, mixed)


def interleaved(seed: int = 0) -> Interleaved:
    first, second = (RowsInMemory(language_rows(seed=k)) for k in (0, 1))
    streams = (Stream(packed(first, 60), 6, 3, 12, seed), Stream(packed(second, 60), 6, 2, 8, seed))  # type: ignore[arg-type]
    return Interleaved(streams, TASK)


def test_streams_take_their_steps_side_by_side() -> None:
    stream = interleaved()
    batches = stream.take(1)
    numbers = {k: [n for b in batches if int(b.column(TASK)[0]) == k for n in b.numbers_R.tolist()] for k in (0, 1)}
    assert sorted(numbers[0]) == sorted(stream.streams[0].numbers(1))
    assert sorted(numbers[1]) == sorted(6 + n for n in stream.streams[1].numbers(1))
    stream.restore(interleaved().state())
    with pytest.raises(TrainingError, match="another"):
        stream.restore(interleaved(seed=1).state())
