"""A trunk that is entered at a block with states from before: the same states and gradients in every family."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from test_families import CASES, adapter_gradient, agree, all_in_float64, models, own_places, rows

from luthier.data.batch import Batch, pack
from luthier.models.adapt.blocks import blocks_of
from luthier.models.entrance import entering, open_entrance, states_before
from luthier.models.families import enters
from luthier.models.policy import Policy

ENTERED = [case for case in CASES if enters(case[0]) and case[0] != "albert"]
"""ALBERT is one block that runs again and again: the last so many cannot be named."""


@pytest.fixture(autouse=True)
def exactly() -> Iterator[None]:
    with all_in_float64():
        yield


def alone(policy: Policy) -> list[np.ndarray]:
    """The states before the entrance of each row by itself."""
    with policy.evaluating():
        return [states_before(policy, pack([row])).numpy() for row in rows()]


def gradient_above(policy: Policy, batch: Batch) -> torch.Tensor:
    """Of all that is learnt in the block behind the entrance."""
    loss = sum((policy.hidden(batch)[place].sin().sum() for place in own_places(batch)), torch.zeros(()))
    return adapter_gradient(loss, blocks_of(policy.wrapped)[1])


@pytest.mark.parametrize(("family", "share_prefix"), ENTERED)
def test_what_is_entered_is_what_is_run_from_the_start(family: str, share_prefix: bool) -> None:
    _, policy = models(family)
    batch = pack(rows(), share_prefix=share_prefix)
    wanted = policy.hidden(batch)
    gradient = gradient_above(policy, batch)
    open_entrance(policy, 1)
    agree(policy.hidden(batch), wanted)
    known = alone(policy)
    (entered,) = entering(lambda numbers: [batch], known.__getitem__)([0])
    agree(policy.hidden(entered), wanted)
    agree(gradient_above(policy, entered), gradient)


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_blocks_below_do_not_run(family: str) -> None:
    _, policy = models(family)
    open_entrance(policy, 1)
    batch = pack(rows())
    (entered,) = entering(lambda numbers: [batch], alone(policy).__getitem__)([0])
    wanted = policy.hidden(batch)
    first = blocks_of(policy.wrapped)[0]
    with torch.no_grad(), contextlib.ExitStack() as back:
        for parameter in first.parameters():
            back.callback(parameter.data.copy_, parameter.data.clone())
            parameter.data.fill_(float("nan"))
        agree(policy.hidden(entered), wanted)
        assert policy.hidden(batch).isnan().any()
