"""A merged model says what the adapter said, and is an ordinary model folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from policies import LABELS, files_of, language_policy, language_rows
from transformers import AutoModelForCausalLM

from luthier.data.batch import pack
from luthier.errors import ModelError
from luthier.models.load import load_base, load_policy, make_policy, save_policy
from luthier.models.locate import locate
from luthier.models.merge import merge, merge_difference, not_merged
from luthier.recipe import Adapter


class Rows:
    """`language_rows` behind the verbs of rendered rows."""

    rows = language_rows()
    lengths = np.array([len(row.ids) for row in rows])

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, index: int, /) -> tuple[np.ndarray, np.ndarray]:
        return self.rows[index].ids, self.rows[index].weights


@pytest.fixture
def adapter(tiny_llama: Path, tmp_path: Path) -> Path:
    save_policy(language_policy(tiny_llama, dtype=torch.float32), tmp_path / "adapter", files_of(tiny_llama))
    return tmp_path / "adapter"


def test_the_difference_is_below_a_hundred_thousandth_of_the_largest_logit(tiny_llama: Path, adapter: Path) -> None:
    apart = merge_difference(files_of(tiny_llama), adapter, Rows())
    assert apart is not None
    assert 0 < apart < 1e-5


def test_the_merged_folder_is_a_model_of_its_own(tiny_llama: Path, adapter: Path, tmp_path: Path) -> None:
    files = files_of(tiny_llama)
    merge(files, adapter, tmp_path / "merged")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    tuned, base = load_policy(files, adapter), load_base(files)
    for row in language_rows():
        batch = pack([row])
        with tuned.evaluating(), base.evaluating():
            theirs = plain(torch.from_numpy(row.ids)[None]).logits[0]
            ours, before = (policy.vocab_logits(policy.hidden(batch)) for policy in (tuned, base))
        largest = float(ours.abs().max())
        assert float((ours - theirs).abs().max()) < 1e-5 * largest
        assert float((ours - before).abs().max()) > 1e-2 * largest
    found = locate(str(tmp_path / "merged"), tmp_path / "cache")
    assert found.sha256 != files.sha256
    assert found.num_parameters == files.num_parameters
    assert (found.folder / "tokenizer.json").read_bytes() == (tiny_llama / "tokenizer.json").read_bytes()


MERGED = {
    "ia3": Adapter(type="ia3"),
    "dora": Adapter(lora_r=4, use_dora=True),
    "adalora": Adapter(type="adalora", init_r=4, target_r=2),
}


@pytest.mark.parametrize("kind", MERGED)
def test_other_adapters_merge_as_closely(kind: str, tiny_llama: Path, tmp_path: Path) -> None:
    files, policy = files_of(tiny_llama), make_policy(files_of(tiny_llama), MERGED[kind], seed=1)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weights in policy.trainable().values():
            weights += 0.05 * torch.randn(weights.shape, generator=draw)
    save_policy(policy, tmp_path / "adapter", files)
    apart = merge_difference(files, tmp_path / "adapter", Rows())
    assert apart is not None
    assert 0 < apart < 1e-5
    merge(files, tmp_path / "adapter", tmp_path / "merged")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    for row in language_rows():
        with policy.evaluating():
            ours = policy.vocab_logits(policy.hidden(pack([row])))
            theirs = plain(torch.from_numpy(row.ids)[None]).logits[0]
        assert float((ours - theirs).abs().max()) < 1e-5 * float(ours.abs().max())


def test_bottleneck_adapters_are_not_merged_and_it_is_said_why(tiny_llama: Path, tmp_path: Path) -> None:
    files = files_of(tiny_llama)
    save_policy(make_policy(files, Adapter(type="bottleneck")), tmp_path / "adapter", files)
    assert merge_difference(files, tmp_path / "adapter", Rows()) is None
    assert "activation" in str(not_merged(tmp_path / "adapter"))
    with pytest.raises(ModelError, match="activation inside a bottleneck adapter"):
        merge(files, tmp_path / "adapter", tmp_path / "merged")


@pytest.mark.parametrize(("model", "kind"), [("tiny_llama", "full"), ("tiny_bert", "lora"), ("tiny_bert", "head")])
def test_where_nothing_is_merged_there_is_no_difference(
    model: str, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    files = files_of(request.getfixturevalue(model))
    labels = LABELS if model == "tiny_bert" else ()
    save_policy(make_policy(files, Adapter(type=kind), labels), tmp_path / "adapter", files)  # type: ignore[arg-type]
    assert merge_difference(files, tmp_path / "adapter", Rows()) is None
