"""Training only the last transformer blocks."""

from __future__ import annotations

from pathlib import Path

import pytest
from policies import files_of, gradient, language_policy, language_rows

from luthier.data.batch import pack
from luthier.errors import ModelError
from luthier.models.load import load_policy, make_policy, save_policy
from luthier.objectives import TABLE
from luthier.recipe import Adapter
from luthier.recipe import Objective as Settings


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_only_the_last_blocks_are_trained(tiny_llama: Path, tiny_bert: Path, kind: str) -> None:
    for folder in (tiny_llama, tiny_bert):
        names = make_policy(files_of(folder), Adapter(type=kind, num_layers=1)).trainable()
        numbers = {part for name in names for part in name.split(".") if part.isdigit()}
        assert numbers == {"1"}
        assert not any("embed" in name for name in names)


def test_all_blocks_is_the_same_as_their_number(tiny_llama: Path) -> None:
    every, two = (make_policy(files_of(tiny_llama), Adapter(num_layers=n)).trainable() for n in ("all", 2))
    assert list(every) == list(two)


def test_the_gradient_is_that_of_the_same_weights_when_all_are_trained(tiny_llama: Path) -> None:
    sft, batch = TABLE["sft"](Settings(), False), pack(language_rows())
    part = language_policy(tiny_llama, Adapter(type="full", num_layers=1))
    whole = language_policy(tiny_llama, Adapter(type="full"))
    names = list(part.trainable())
    found = dict(zip(whole.trainable(), [p.numel() for p in whole.trainable().values()], strict=True))
    vector, pieces, start = gradient(whole, sft, [batch]), [], 0
    for name, size in found.items():
        if name in names:
            pieces += vector[start : start + size].tolist()
        start += size
    assert gradient(part, sft, [batch]).tolist() == pytest.approx(pieces, abs=1e-12)


def test_the_adapter_comes_back_from_its_files(tiny_llama: Path, tmp_path: Path) -> None:
    policy = make_policy(files_of(tiny_llama), Adapter(num_layers=1))
    save_policy(policy, tmp_path, files_of(tiny_llama))
    names = {name for name, _ in load_policy(files_of(tiny_llama), tmp_path).wrapped.named_parameters()}
    assert set(policy.trainable()) <= names


def test_more_blocks_than_there_are_is_refused(tiny_llama: Path) -> None:
    with pytest.raises(ModelError, match="2 transformer blocks"):
        make_policy(files_of(tiny_llama), Adapter(type="full", num_layers=3))
