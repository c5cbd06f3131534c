"""What the reference engine does beyond the promises of every engine: memory, encoders, versions of their own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import Reference
from listening import hear
from policies import class_policy, files_of, language_policy

from luthier.errors import ModelError
from luthier.models.load import load_base, load_policy, save_policy
from luthier.models.policy import Policy
from luthier.models.sample import sample
from luthier.recipe import Adapter
from luthier.serve.engines import choose as choosing
from luthier.serve.engines import decoding
from luthier.serve.engines.decoding import Decoding, token_bytes
from luthier.serve.engines.engine import Ask
from luthier.serve.engines.remote import Remote
from luthier.serve.engines.table import open_engine
from luthier.serve.engines.torch_engine import TorchEngine


@pytest.fixture(scope="module")
def policy(tiny_llama: Path) -> Policy:
    policy = load_base(files_of(tiny_llama))
    policy.train(False)
    return policy


@pytest.fixture(scope="module")
def reference(tiny_llama: Path) -> Reference:
    return Reference(tiny_llama, {})


def prompts(count: int, seed: int = 0) -> list[list[int]]:
    draw = np.random.default_rng(seed)
    return [draw.integers(3, 300, int(draw.integers(2, 90))).tolist() for _ in range(count)]


def asks(rows: Sequence[Sequence[int]], new_tokens: int) -> list[Ask]:
    return [Ask("", row, new_tokens, temperature=0.0) for row in rows]


def test_rows_of_any_length_move_from_shelf_to_shelf(tiny_llama: Path, policy: Policy, reference: Reference) -> None:
    engine = TorchEngine(policy, files_of(tiny_llama))
    rows = [prompts(1)[0], [5] * 300, [7] * 125, prompts(1, seed=1)[0]]
    try:
        found = hear(engine, asks(rows, 150))
    finally:
        engine.close()
    assert [answer.ids for answer in found] == [reference.greedy(row, longest=150) for row in rows]


def test_keys_and_values_stay_within_their_bound(
    tiny_llama: Path, policy: Policy, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    back: list[int] = []
    step = Decoding.step

    def watched(self: Decoding) -> list:
        found = step(self)
        back.append(len(found))
        held.append(sum(shelf.memory.places * room for room, shelf in self.shelves.items()))
        assert all(buffer.shape[0] * buffer.shape[2] == shelf.memory.places * room
                   for room, shelf in self.shelves.items() for buffer in shelf.memory.keys.values())  # fmt: skip
        return found

    monkeypatch.setattr(Decoding, "step", watched)
    engine = TorchEngine(policy, files_of(tiny_llama), 1000 * token_bytes(policy))
    rows = prompts(12)
    try:
        found = hear(engine, asks(rows, 150))
    finally:
        engine.close()
    assert [answer.ids for answer in found] == [reference.greedy(row, longest=150) for row in rows]
    assert max(held) <= 1000
    assert max(held) > 500
    assert sum(back) > 0, "no row had to step back: the test proves nothing"


def test_a_row_longer_than_the_bound_is_answered_alone(tiny_llama: Path, policy: Policy, reference: Reference) -> None:
    engine = TorchEngine(policy, files_of(tiny_llama), 150 * token_bytes(policy))
    rows = [[5] * 200, *prompts(2)]
    try:
        found = hear(engine, asks(rows, 100))
    finally:
        engine.close()
    assert [answer.ids for answer in found] == [reference.greedy(row, longest=100) for row in rows]


def test_what_fails_inside_ends_those_rows_and_no_later_ones(
    tiny_llama: Path, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TorchEngine(policy, files_of(tiny_llama))
    try:
        with monkeypatch.context() as patch:
            patch.setattr(decoding, "choose", lambda *_: 1 / 0)
            found = hear(engine, asks(prompts(2), 5))
            assert [answer.finish for answer in found] == ["error", "error"]
            assert "ZeroDivisionError" in found[0].pieces[-1].error
        assert hear(engine, asks(prompts(1), 5))[0].finish == "length"
    finally:
        engine.close()


def test_the_nucleus_is_found_however_many_ids_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "FIRST_SORTED", 2)
    probs = torch.tensor([0.1, 0.3, 0.05, 0.35, 0.2])
    for top_p, expected in {0.2: [3], 0.4: [3, 1], 0.8: [3, 1, 4], 0.99: [3, 1, 4, 0, 2]}.items():
        kept, ids = choosing._nucleus(probs, top_p)
        assert ids.tolist() == expected
        assert kept.tolist() == probs[ids].tolist()


def test_vectors_are_means_of_states_whoever_asks(tiny_bert: Path) -> None:
    files = files_of(tiny_bert)
    policy = load_base(files)
    engine = TorchEngine(policy, files)
    draw = np.random.default_rng(0)
    rows = [draw.integers(5, 90, int(n)).tolist() for n in draw.integers(1, 60, 40)]
    try:
        together = engine.embed(rows)
        with ThreadPoolExecutor(8) as pool:
            apart = [vectors[0] for vectors in pool.map(lambda row: engine.embed([row]), rows)]
        assert engine.embed([]) == []
        with pytest.raises(ModelError, match="513 tokens"):
            engine.embed([[5] * 513])
        assert hear(engine, asks(rows[:1], 5))[0].finish == "error"
    finally:
        engine.close()
    for row, one, other in zip(rows, together, apart, strict=True):
        assert np.linalg.norm(one) == pytest.approx(1, abs=1e-5)
        assert one == pytest.approx(other, abs=1e-5)
        assert one == pytest.approx(_by_transformers(tiny_bert, row), abs=1e-5)


def _by_transformers(folder: Path, row: list[int]) -> list[float]:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        mean = model(torch.tensor([row])).last_hidden_state[0].mean(0)
    return (mean / mean.norm()).tolist()


@pytest.mark.parametrize("adapter", [Adapter(type="full"), Adapter(type="prefix", num_virtual_tokens=4),
                                     Adapter(use_dora=True, lora_r=4)])  # fmt: skip
def test_a_version_that_is_no_plain_lora_has_an_engine_of_its_own(
    tiny_llama: Path, tmp_path: Path, adapter: Adapter, home
) -> None:
    files = files_of(tiny_llama)
    made, draw = language_policy(tiny_llama, adapter, torch.float32), torch.Generator().manual_seed(0)
    for parameter in made.trainable().values():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=draw)
    save_policy(made, tmp_path, files)
    rows = prompts(5)
    expected = sample(load_policy(files, tmp_path), rows, max_new_tokens=12, stop_ids=())
    assert expected != sample(load_base(files), rows, max_new_tokens=12, stop_ids=())
    engine = open_engine({"engine": "torch", "base": str(tiny_llama), "tuned": str(tmp_path)})
    try:
        assert [answer.ids for answer in hear(engine, asks(rows, 12))] == expected
        if adapter.type != "full":
            with pytest.raises(ModelError, match="no plain LoRA"):
                engine.load("mine", tmp_path)
        assert [answer.ids for answer in hear(engine, asks(rows, 12))] == expected
    finally:
        engine.close()


def test_a_version_with_a_head_is_refused_as_an_adapter(tiny_llama: Path, tmp_path: Path, policy: Policy) -> None:
    files = files_of(tiny_llama)
    save_policy(class_policy(tiny_llama, Adapter()), tmp_path, files)
    engine = TorchEngine(load_base(files), files)
    try:
        with pytest.raises(ModelError, match="classification head"):
            engine.load("head", tmp_path)
    finally:
        engine.close()


@pytest.mark.slow
def test_nothing_is_lost_while_the_real_process_is_killed(tiny_llama: Path, reference: Reference, home) -> None:
    rows = prompts(40)

    async def body() -> tuple[list[list[int]], int]:
        remote = await Remote.open({"engine": "torch", "base": str(tiny_llama)})
        answers = asyncio.gather(*(remote.complete(replace(one, id="x")) for one in asks(rows, 200)))
        kills = 0
        while kills < 2 and not answers.done():
            await asyncio.sleep(0.15)
            child = remote._child()
            if child is not None and child.alive and remote.restarts == kills:
                os.kill(child.process.pid, signal.SIGKILL)
                kills += 1
        found = [[token.id for token in answer.tokens] for answer in await answers]
        await remote.close()
        return found, remote.restarts

    found, restarts = asyncio.run(body())
    assert found == [reference.greedy(row, longest=200) for row in rows]
    assert restarts == 2
