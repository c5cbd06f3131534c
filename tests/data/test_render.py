"""What a chat row becomes: which ids, and which of them are learnt."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from chats import runs
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.example import Example
from luthier.data.render import Renderer
from luthier.errors import DataError, ModelError, RecipeError

END = "<|im_end|>"
CHAT = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What does a new bridge cost?"},
    {"role": "assistant", "content": "About 150 euros."},
    {"role": "user", "content": "And a post?"},
    {"role": "assistant", "content": "30 euros."},
)


@pytest.fixture(scope="module")
def renderer(tiny_llama: Path) -> Renderer:
    return Renderer.from_folder(tiny_llama)


def chat(*messages: dict, row_id: str = "chats.jsonl:1", **fields: object) -> Example:
    return Example(row_id=row_id, messages=messages, **fields)


def test_answers_and_their_terminators_are_learnt_and_nothing_else(renderer: Renderer) -> None:
    rendered = renderer.rows([chat(*CHAT)], sequence_len=None)
    assert runs(renderer, rendered) == ["About 150 euros." + END, "30 euros." + END]
    ids, weights = rendered.row(0)
    assert set(weights.tolist()) == {0.0, 1.0}
    whole = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}{END}\n" for turn in CHAT)
    assert renderer.tokens.tokenizer.decode(ids.tolist(), skip_special_tokens=False) == whole


def test_train_on_last_and_all(renderer: Renderer) -> None:
    last = renderer.rows([chat(*CHAT)], sequence_len=None, train_on="last")
    assert runs(renderer, last) == ["30 euros." + END]
    _, weights = renderer.rows([chat(*CHAT)], sequence_len=None, train_on="all").row(0)
    assert weights[0] == 0
    assert (weights[1:] == 1).all()


def test_weights_of_messages_and_examples_multiply(renderer: Renderer) -> None:
    messages = [dict(turn) for turn in CHAT]
    messages[2]["weight"], messages[4]["weight"] = 0, 0.5
    rendered = renderer.rows([chat(*messages, weight=3.0)], sequence_len=None)
    assert runs(renderer, rendered) == ["30 euros." + END]
    assert set(rendered.row(0)[1].tolist()) == {0.0, 1.5}
    everything = renderer.rows([chat(*messages)], sequence_len=None, train_on="all").row(0)[1]
    assert set(everything.tolist()) == {0.0, 0.5, 1.0}


def test_a_weight_that_is_no_number_is_refused(renderer: Renderer) -> None:
    with pytest.raises(DataError, match=r"chats\.jsonl:1: .*weight 'yes'"):
        renderer.rows([chat(CHAT[1], {**CHAT[2], "weight": "yes"})], sequence_len=None)


def test_a_prompt_with_its_completion_is_a_chat(renderer: Renderer) -> None:
    pair = Example(row_id="p:1", prompt="And a post?", completion="30 euros.")
    same = renderer.rows([pair, chat(*CHAT[3:])], sequence_len=None)
    assert np.array_equal(same.row(0)[0], same.row(1)[0])
    assert np.array_equal(same.row(0)[1], same.row(1)[1])


def test_a_prompt_is_the_beginning_of_the_row(renderer: Renderer) -> None:
    ids, weights = renderer.rows([chat(*CHAT)], sequence_len=None, train_on="last").row(0)
    prompt = renderer.prompt(CHAT[:-1])
    assert ids[: len(prompt)].tolist() == prompt
    assert int(np.flatnonzero(weights)[0]) == len(prompt)
    assert renderer.prompt("And a post?") == renderer.prompt([{"role": "user", "content": "And a post?"}])


contents = st.text(st.sampled_from("\n\n\n  ab\t1é😀.<|"), max_size=8)


@settings(max_examples=50, deadline=None, database=None)
@given(st.lists(st.tuples(contents, contents), min_size=1, max_size=3))
@hypothesis.example([("Hi", "\n\n\nYes"), ("", " "), ("?\n", "\n\n")])
def test_a_prompt_is_the_beginning_of_the_row_whatever_is_said(tiny_llama: Path, turns: list) -> None:
    """White space at the edge of an answer must not merge with the template's newline before it."""
    renderer = _renderer(tiny_llama)
    messages = [
        {"role": role, "content": text}
        for pair in turns
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    rendered = renderer.rows([chat(*messages)], sequence_len=None)
    assert runs(renderer, rendered) == [answer + END for _, answer in turns]
    for number in range(1, len(messages), 2):
        prompt = renderer.prompt(messages[:number])
        assert rendered.ids[: len(prompt)].tolist() == prompt


def _renderer(folder: Path, cache: dict = {}) -> Renderer:  # noqa: B006 - one renderer for all examples
    return cache.setdefault(folder, Renderer.from_folder(folder))


def test_text_parts_are_joined_and_other_parts_refused(renderer: Renderer) -> None:
    parts = [{"type": "text", "text": "And a "}, {"type": "text", "text": "post?"}]
    joined = renderer.rows([chat({"role": "user", "content": parts}, CHAT[4])], sequence_len=None)
    plain = renderer.rows([chat(CHAT[3], CHAT[4])], sequence_len=None)
    assert np.array_equal(joined.ids, plain.ids)
    image = [{"type": "image_url", "image_url": {"url": "x"}}]
    with pytest.raises(DataError, match=r"chats\.jsonl:1: .*not text"):
        renderer.rows([chat({"role": "user", "content": image}, CHAT[4])], sequence_len=None)


def test_facts_about_the_model(renderer: Renderer, tiny_bert: Path) -> None:
    assert renderer.template_source == "model"
    assert renderer.supports_system
    assert not renderer.supports_tools
    assert renderer.eos_ids == (2,)
    assert renderer.vocab_size == 400
    encoder = Renderer.from_folder(tiny_bert)
    assert encoder.eos_ids == ()
    assert not encoder.supports_system


def test_encode_and_decode(renderer: Renderer, tiny_bert: Path) -> None:
    ids = renderer.encode("a violin<|im_end|>")
    assert ids[-1] == 2
    assert renderer.decode(ids) == "a violin"
    encoder = Renderer.from_folder(tiny_bert)
    assert encoder.encode("violin", special=True) == [2, *encoder.encode("violin"), 3]


def test_an_encoder_writes_no_chats(tiny_bert: Path) -> None:
    with pytest.raises(ModelError, match="neither a chat template nor"):
        Renderer.from_folder(tiny_bert).rows([chat(*CHAT)], sequence_len=None)


def test_padding_and_truncation_in_the_tokenizer_file_are_turned_off(tiny_bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_bert, tmp_path / "baked")
    tokenizer = Renderer.from_folder(tiny_bert).tokens.tokenizer
    tokenizer.enable_padding(length=64)
    tokenizer.enable_truncation(max_length=3)
    tokenizer.save(str(folder / "tokenizer.json"))
    assert len(Renderer.from_folder(folder).encode("the violin and the lute")) == 5


def test_two_bos_tokens_are_refused(renderer: Renderer, tiny_llama: Path) -> None:
    twice = "{{ bos_token }}" + (renderer.tokens.template or "")
    doubled = Renderer.from_folder(tiny_llama, chat_template=twice)
    with pytest.raises(DataError, match=r"chats\.jsonl:1: begins with two bos"):
        doubled.rows([chat(*CHAT)], sequence_len=None)


def test_encoding_adds_nothing_to_what_the_template_writes(tiny_llama: Path, tmp_path: Path) -> None:
    """A tokenizer that opens every text with bos, as Llama's does, must not do so on a rendered chat."""
    from tokenizers.processors import TemplateProcessing

    folder = shutil.copytree(tiny_llama, tmp_path / "adds-bos")
    tokenizer = Renderer.from_folder(tiny_llama).tokens.tokenizer
    tokenizer.post_processor = TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    plain, adding = Renderer.from_folder(tiny_llama), Renderer.from_folder(folder)
    row = [chat(*CHAT)]
    assert np.array_equal(plain.rows(row, sequence_len=None).ids, adding.rows(row, sequence_len=None).ids)


def test_broken_folders_and_templates(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        Renderer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be read"):
        Renderer.from_folder(tmp_path)
    with pytest.raises(RecipeError, match=r"line 2.*not a Jinja template"):
        Renderer.from_folder(tiny_llama, chat_template="fine\n{% if %}")


def test_the_template_file_wins_over_the_one_in_the_configuration(tiny_llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_llama, tmp_path / "model")
    template = json.loads((folder / "tokenizer_config.json").read_text())["chat_template"]
    (folder / "chat_template.jinja").write_text(template.replace("assistant", "model"))
    assert Renderer.from_folder(folder).prompt("Hello") != Renderer.from_folder(tiny_llama).prompt("Hello")


def test_rendering_loads_neither_torch_nor_transformers() -> None:
    program = "import sys, luthier.data.render; print({'torch', 'transformers'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
