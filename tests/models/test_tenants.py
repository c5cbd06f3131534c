"""Several adapters in one pass: each row computes what it would compute under its own adapter alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from factory import write_tiny_llama
from families import folder_of
from policies import class_policy, distance, files_of, language_policy, language_rows, settled
from torch import Tensor

from luthier.data.batch import pack
from luthier.data.forest import Row
from luthier.errors import ModelError
from luthier.models.adapt.tenants import load_tenants
from luthier.models.load import load_base, load_policy, make_policy, save_policy
from luthier.models.policy import Policy
from luthier.models.sample import sample
from luthier.objectives import TABLE
from luthier.recipe import Adapter
from luthier.recipe import Objective as Settings

SFT = TABLE["sft"](Settings(), False)
ADAPTERS = {
    "tickets.v1": Adapter(lora_r=4, lora_alpha=8.0),
    "jokes": Adapter(lora_r=2, lora_target_modules=("q_proj", "down_proj")),
    "last": Adapter(lora_r=3, num_layers=1),
}
NAMES = ("tickets.v1", "jokes", None, "jokes", "last", "tickets.v1")
"""The adapter of each of six rows."""
EXACT = {"rtol": 1e-8, "atol": 1e-8}


@pytest.fixture(scope="module")
def folders(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each adapter, with weights of its own."""
    root, files = tmp_path_factory.mktemp("adapters"), files_of(tiny_llama)
    for number, (name, adapter) in enumerate(ADAPTERS.items()):
        policy, draw = make_policy(files, adapter, seed=number), torch.Generator().manual_seed(number)
        with torch.no_grad():
            for parameter in policy.trainable().values():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw))
        save_policy(policy, root / name, files)
    return {name: root / name for name in ADAPTERS}


@pytest.fixture(scope="module")
def together(tiny_llama: Path, folders: dict[str, Path]) -> Policy:
    return settled(load_tenants(files_of(tiny_llama), folders), torch.float64)


@pytest.fixture(scope="module")
def apart(tiny_llama: Path, folders: dict[str, Path]) -> dict[str | None, Policy]:
    """Each adapter alone on the base, and the base."""
    files = files_of(tiny_llama)
    single = {name: load_policy(files, folder) for name, folder in folders.items()}
    return {name: settled(p, torch.float64) for name, p in (single | {None: load_base(files)}).items()}


def mixed(shared: int = 20) -> list[Row]:
    return [replace(row, adapter=name) for row, name in zip(language_rows(shared=shared), NAMES, strict=True)]


def logits(policy: Policy, rows: list[Row], share_prefix: bool = False) -> list[Tensor]:
    """The logits at each row's sources."""
    batch = pack(rows, share_prefix=share_prefix)
    with policy.evaluating():
        found = policy.vocab_logits(policy.hidden(batch)[batch.source_N])
    return [found[batch.row_N == row] for row in range(len(rows))]


@pytest.mark.parametrize("share_prefix", [False, True])
def test_a_mixed_pack_has_the_logits_of_each_row_under_its_own_adapter(together, apart, share_prefix: bool) -> None:
    rows = mixed()
    assert len({float(logits(policy, rows[:1])[0][0, 0]) for policy in apart.values()}) == len(apart)
    for row, found in zip(rows, logits(together, rows, share_prefix), strict=True):
        torch.testing.assert_close(found, logits(apart[row.adapter], [row])[0], **EXACT)


def test_only_rows_with_the_same_adapter_share_a_beginning() -> None:
    order = sorted(mixed(), key=lambda row: str(row.adapter))
    batch = pack(order, share_prefix=True)
    assert [s.adapter for s in batch.segments if s.end - s.start == 20] == ["jokes", "tickets.v1"]
    assert all(s.parent is None or batch.segments[s.parent].adapter == s.adapter for s in batch.segments)
    assert {order[r].adapter: batch.segments[leaf].adapter for r, leaf in enumerate(batch.leaves)} == {
        name: name for name in NAMES
    }


def test_the_gradient_of_a_row_goes_to_its_own_adapter_alone(together: Policy, apart) -> None:
    rows = mixed()
    try:
        for policy in (together, *apart.values()):
            for name, parameter in policy.wrapped.named_parameters():
                parameter.requires_grad_("lora_" in name)
        units = sum(float(row.weights.sum()) for row in rows)
        nll = SFT.score(together, pack(rows)).terms["nll"].sum() / units
        named = together.trainable()
        found = dict(zip(named, torch.autograd.grad(nll, list(named.values())), strict=True))
        for number, name in enumerate(ADAPTERS):
            own = pack([replace(row, adapter=None) for row in rows if row.adapter == name])
            alone = apart[name]
            nll = SFT.score(alone, own).terms["nll"].sum() / units
            expected = torch.cat([g.flatten() for g in torch.autograd.grad(nll, list(alone.trainable().values()))])
            mine = [grad.flatten() for key, grad in found.items() if f"tenant_{number}." in key]
            assert distance(expected, torch.cat(mine)) < 1e-8
        only_base = [replace(row, adapter=None) for row in rows]
        assert not SFT.score(together, pack(only_base)).terms["nll"].requires_grad
    finally:
        together.wrapped.requires_grad_(False)
        for policy in apart.values():
            policy.wrapped.requires_grad_(False)


def test_decoding_goes_on_with_the_adapter_of_each_row(together: Policy, apart) -> None:
    rows = mixed(shared=9)
    prompts = [row.ids.tolist() for row in rows]
    found = sample(together, prompts, max_new_tokens=6, stop_ids=[], adapters=NAMES)
    expected = [sample(apart[n], [p], max_new_tokens=6, stop_ids=[])[0] for p, n in zip(prompts, NAMES, strict=True)]
    assert found == expected
    stop = expected[0][1]
    until = [answer[: answer.index(stop)] if stop in answer else answer for answer in expected]
    assert sample(together, prompts, max_new_tokens=6, stop_ids=[stop], adapters=NAMES) == until


def test_a_name_that_is_not_there_is_an_error(together: Policy) -> None:
    row = Row(np.arange(5), np.ones(5, np.float32), 0, "poems")
    with pytest.raises(ModelError, match=r"no adapter 'poems'\. There are tickets\.v1, jokes, last"):
        together.logprobs(pack([row]))


def test_what_cannot_be_held_together_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    files = files_of(tiny_llama)
    save_policy(make_policy(files, Adapter(type="prompt")), tmp_path / "prompt", files)
    save_policy(class_policy(tiny_llama, Adapter()), tmp_path / "head", files)
    other = write_tiny_llama(tmp_path / "other", seed=1)
    save_policy(language_policy(other), tmp_path / "elsewhere", files_of(other))
    for name, reason in {"prompt": "no plain LoRA", "head": "classification head", "elsewhere": "trained on"}.items():
        with pytest.raises(ModelError, match=reason):
            load_tenants(files, {name: tmp_path / name})


def test_families_that_are_padded_are_refused(tiny_llama: Path, tmp_path: Path) -> None:
    files = files_of(folder_of("falcon", tmp_path, tiny_llama))
    with pytest.raises(ModelError, match="falcon models are padded"):
        load_tenants(files, {})
