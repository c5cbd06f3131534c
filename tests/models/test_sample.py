"""Generation: the words of transformers when greedy, and every promise about stops, limits and restrictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from policies import files_of
from transformers import AutoModelForCausalLM

from luthier.models.load import load_base
from luthier.models.policy import Policy
from luthier.models.sample import sample

LONGEST = 8


@pytest.fixture(scope="module")
def policy(tiny_llama: Path) -> Policy:
    return load_base(files_of(tiny_llama))


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    """Of different length, neither sorted nor beginning alike."""
    draw = np.random.default_rng(0)
    return [draw.integers(3, 90, length).tolist() for length in (5, 21, 9, 14, 1)]


@pytest.fixture(scope="module")
def greedy(policy: Policy, prompts: list[list[int]]) -> list[list[int]]:
    return sample(policy, prompts, max_new_tokens=LONGEST, stop_ids=[])


def test_greedy_answers_are_those_of_transformers(tiny_llama: Path, prompts, greedy) -> None:
    reference = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    reference.generation_config.eos_token_id = None
    for prompt, answer in zip(prompts, greedy, strict=True):
        ids = reference.generate(torch.tensor([prompt]), max_new_tokens=LONGEST, do_sample=False, pad_token_id=0)
        assert ids[0, len(prompt) :].tolist() == answer
    assert len({tuple(answer) for answer in greedy}) > 1


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_who_is_decoded_together_changes_nothing(policy: Policy, prompts, greedy, batch_size: int) -> None:
    assert sample(policy, prompts, max_new_tokens=LONGEST, stop_ids=[], batch_size=batch_size) == greedy


def test_a_stop_ends_its_row_and_no_other(policy: Policy, prompts, greedy) -> None:
    stop = greedy[1][2]
    found = sample(policy, prompts, max_new_tokens=LONGEST, stop_ids=[stop])
    assert found == [until(answer, stop) for answer in greedy]
    assert 2 >= len(found[1]) < max(map(len, found))


def test_a_stop_is_kept_where_it_is_asked_for(policy: Policy, prompts, greedy) -> None:
    stop = greedy[1][2]
    found = sample(policy, prompts, max_new_tokens=LONGEST, stop_ids=[stop], keep_stop=True)
    assert found == [until(answer, stop) + [stop] * (stop in answer) for answer in greedy]


def test_a_limit_of_one_token_is_kept(policy: Policy, prompts, greedy) -> None:
    assert sample(policy, prompts, max_new_tokens=1, stop_ids=[]) == [answer[:1] for answer in greedy]


def test_only_what_is_allowed_is_said(policy: Policy, prompts) -> None:
    """Each row has ids of its own; the answers come back in the order of the prompts."""

    def allowed(number: int, said: list[int]) -> Sequence[int]:
        return [100 + 10 * number + len(said)]

    found = sample(policy, prompts, max_new_tokens=3, stop_ids=[141], allowed=allowed)
    assert found == [[100 + 10 * n + k for k in range(1 if n == 4 else 3)] for n in range(len(prompts))]


def test_of_what_is_allowed_the_likeliest_is_said(policy: Policy, prompts, greedy) -> None:
    banned = greedy[0][0]
    rest = [index for index in range(300) if index != banned]
    free = sample(policy, prompts[:1], max_new_tokens=1, stop_ids=[], allowed=lambda n, said: [*rest, banned])
    assert free == [[banned]]
    second = sample(policy, prompts[:1], max_new_tokens=1, stop_ids=[], allowed=lambda n, said: rest)
    few = [second[0][0], *rest[:5]]
    assert second == sample(policy, prompts[:1], max_new_tokens=1, stop_ids=[], allowed=lambda n, said: few)


def test_warm_answers_depend_on_the_seed_alone(policy: Policy, prompts, greedy) -> None:
    def warm(seed: int, temperature: float = 3.0) -> list[list[int]]:
        return sample(policy, prompts, max_new_tokens=LONGEST, stop_ids=[], temperature=temperature, seed=seed)

    first = warm(0)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert warm(0) == first
    assert torch.equal(torch.get_rng_state(), before)
    assert warm(1) != first
    assert warm(0, temperature=1e-4) == greedy


def test_progress_counts_prompts(policy: Policy, prompts) -> None:
    seen: list[tuple[int, int]] = []
    sample(policy, prompts, max_new_tokens=1, stop_ids=[], batch_size=2, progress=lambda *at: seen.append(at))
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_no_prompts_no_answers(policy: Policy) -> None:
    assert sample(policy, [], max_new_tokens=3, stop_ids=[]) == []


def until(ids: list[int], stop: int) -> list[int]:
    return ids[: ids.index(stop)] if stop in ids else ids
