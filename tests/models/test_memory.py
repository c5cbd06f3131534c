"""The cache of decoding: rows come, move, go and lie on shelves, and each decodes as if it were alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from policies import files_of, settled
from torch import Tensor

from luthier.data.batch import pack
from luthier.data.forest import Row
from luthier.models.attention import Memory, Shelves
from luthier.models.load import load_base
from luthier.models.policy import Policy

TEXTS = [np.random.default_rng(n).integers(5, 300, 3 + 7 * n).tolist() for n in range(4)]


@pytest.fixture(scope="module")
def policy(tiny_llama: Path) -> Policy:
    return settled(load_base(files_of(tiny_llama)), torch.float64)


def read(policy: Policy, texts: Sequence[list[int]]) -> Memory:
    batch = pack([Row(np.array(text), np.zeros(len(text)), i) for i, text in enumerate(texts)], share_prefix=True)
    memory = Memory(batch.segments, batch.leaves, max(map(len, texts)))
    with policy.evaluating():
        policy.hidden(batch, memory=memory)
    return memory


def step(policy: Policy, memory: Memory | Shelves, texts: Sequence[list[int]], id: int) -> list[list[int]]:
    """Decode `id` in each row, and compare with reading the whole rows; the rows with it."""
    grown = [[*text, id] for text in texts]
    with policy.evaluating():
        states = policy.step(torch.full((len(texts),), id), memory)
        for text, found in zip(grown, states, strict=True):
            torch.testing.assert_close(found, alone(policy, text), rtol=1e-9, atol=1e-9)
    return grown


def alone(policy: Policy, text: list[int]) -> Tensor:
    return policy.hidden(pack([Row(np.array(text), np.zeros(len(text)), 0)]))[-1]


def test_rows_come_and_go_at_any_step(policy: Policy) -> None:
    memory = Memory((), (), 40)
    memory.join(read(policy, TEXTS[:2]), [1, 0])
    texts = step(policy, memory, [TEXTS[1], TEXTS[0]], 7)
    memory.join(read(policy, TEXTS[2:]), [0, 1])
    texts = step(policy, memory, [*texts, *TEXTS[2:]], 8)
    memory.keep([3, 1, 2])
    texts = step(policy, memory, [texts[3], texts[1], texts[2]], 9)
    memory.join(read(policy, TEXTS[1:2]), [0])
    texts = step(policy, memory, [*texts, TEXTS[1]], 10)
    memory.keep([2])
    assert [len(buffer) for buffer in memory.keys.values()] == [1, 1]
    step(policy, memory, texts[2:3], 11)


def test_shelves_are_one_batch(policy: Policy) -> None:
    short, long = Memory((), (), 16), Memory((), (), 64)
    found = read(policy, TEXTS)
    short.join(found, [0, 1])
    long.join(found, [3, 2])
    texts = [TEXTS[0], TEXTS[1], TEXTS[3], TEXTS[2]]
    for id in (7, 8):
        texts = step(policy, Shelves([short, long]), texts, id)
    assert short.lengths.tolist() == [len(text) for text in texts[:2]]
    long.join(short, [1])
    short.keep([0])
    step(policy, Shelves([short, long]), [texts[0], texts[2], texts[3], texts[1]], 9)


def test_a_memory_knows_what_it_takes(policy: Policy) -> None:
    memory = read(policy, TEXTS[:2])
    assert memory.places == 2
    held = sum(buffer.numel() * buffer.element_size() for buffer in (*memory.keys.values(), *memory.values.values()))
    assert memory.token_bytes * memory.room * memory.places == held
    assert (memory.places_for(0), memory.places_for(1), memory.places_for(5)) == (2, 3, 7)
