"""Lengths, coverage, the other objectives, and the cache of rendered rows."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from luthier.data import render, rendered
from luthier.data.example import Example
from luthier.data.render import Renderer, render_cached
from luthier.errors import DataError, ModelError


@pytest.fixture(scope="module")
def renderer(tiny_llama: Path) -> Renderer:
    return Renderer.from_folder(tiny_llama)


@pytest.fixture(scope="module")
def encoder(tiny_bert: Path) -> Renderer:
    return Renderer.from_folder(tiny_bert)


def pair(number: int, answer: str) -> Example:
    return Example(row_id=f"pairs.jsonl:{number}", prompt="What does it cost?", completion=answer)


PAIRS = [pair(1, "150 euros"), pair(2, "the violin, the cello and the lute " * 9), pair(3, "No, sorry.")]


def test_arrays_and_report_agree(renderer: Renderer) -> None:
    rows = renderer.rows(PAIRS, sequence_len=None)
    assert (rows.ids.dtype, rows.weights.dtype, rows.offsets.dtype) == (np.int32, np.float32, np.int64)
    assert len(rows) == rows.report.rows == 3
    assert rows.row_ids == ["pairs.jsonl:1", "pairs.jsonl:2", "pairs.jsonl:3"]
    assert rows.offsets.tolist() == [0, *np.cumsum(rows.lengths)]
    assert rows.report.tokens == len(rows.ids) == len(rows.weights)
    assert rows.report.trained_tokens == np.count_nonzero(rows.weights)
    assert rows.report.longest == rows.lengths.max()
    shares = [np.count_nonzero(rows.row(i)[1]) / rows.lengths[i] for i in range(3)]
    assert rows.report.coverage == pytest.approx(shares)


def test_long_rows_are_an_error_that_names_them(renderer: Renderer) -> None:
    longest = renderer.rows(PAIRS, sequence_len=None).report.longest
    with pytest.raises(
        DataError,
        match=rf"1 of 3 rows .* 40 tokens: pairs.jsonl:2 \({longest}\)\. .*as many, `train.sequence_len: {longest}`",
    ):
        renderer.rows(PAIRS, sequence_len=40)
    renderer.rows(PAIRS, sequence_len=longest)


def test_long_rows_can_be_dropped_or_cut(renderer: Renderer) -> None:
    whole = renderer.rows(PAIRS, sequence_len=None)
    dropped = renderer.rows(PAIRS, sequence_len=40, truncation="drop")
    assert dropped.kept.tolist() == [0, 2]
    assert dropped.report.dropped == ("pairs.jsonl:2",)
    assert dropped.report.truncated == ()
    cut = renderer.rows(PAIRS, sequence_len=40, truncation="right")
    assert cut.report.truncated == ("pairs.jsonl:2",)
    assert cut.lengths[1] == 40
    for part in (0, 1):
        assert np.array_equal(cut.row(1)[part], whole.row(1)[part][:40])
    assert cut.report.longest == whole.report.longest


def test_rows_with_nothing_to_learn_are_left_out_and_named(renderer: Renderer) -> None:
    question = {"role": "user", "content": "Can I wait for it?"}
    silent = Example(row_id="c:1", messages=(question,))
    unwanted = Example(row_id="c:2", messages=(question, {"role": "assistant", "content": "No.", "weight": 0}))
    rows = renderer.rows([silent, PAIRS[0], unwanted], sequence_len=None)
    assert rows.report.zero_coverage == ("c:1", "c:2")
    assert rows.kept.tolist() == [1]
    with pytest.raises(DataError, match=r"nothing to learn in any of 2 rows: c:1, c:2"):
        renderer.rows([silent, unwanted], sequence_len=None)


def test_answers_lost_to_truncation_are_reported(renderer: Renderer) -> None:
    long_question = Example(row_id="q:1", prompt="the violin " * 40, completion="Yes.")
    rows = renderer.rows([PAIRS[0], long_question], sequence_len=40, truncation="right")
    assert rows.report.zero_coverage == ("q:1",)
    assert rows.report.truncated == ("q:1",)


def test_nothing_left_is_an_error(renderer: Renderer) -> None:
    with pytest.raises(DataError, match=r"all 3 rows are longer than 5 tokens"):
        renderer.rows(PAIRS, sequence_len=5, truncation="drop")
    assert len(renderer.rows([], sequence_len=5)) == 0


def test_progress_counts_rows(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "CHUNK_ROWS", 2)
    seen: list[tuple[int, int]] = []
    chunked = renderer.rows(PAIRS, sequence_len=None, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 3), (3, 3)]
    monkeypatch.undo()
    assert np.array_equal(chunked.ids, renderer.rows(PAIRS, sequence_len=None).ids)


def test_plain_text_ends_with_eos_and_counts_everywhere(renderer: Renderer) -> None:
    texts = [Example(row_id="t:1", text="a violin"), Example(row_id="t:2", text="a lute<|im_end|>")]
    rows = renderer.rows(texts, sequence_len=None, objective="pretrain")
    for number, text in enumerate(("a violin", "a lute")):
        ids, weights = rows.row(number)
        assert ids.tolist() == [*renderer.encode(text), 2]
        assert weights.tolist() == [0.0] + [1.0] * (len(ids) - 1)
    with pytest.raises(DataError, match=r"pairs\.jsonl:1: has no plain text"):
        renderer.rows(PAIRS, sequence_len=None, objective="pretrain")
    with pytest.raises(DataError, match=r"t:1: has neither messages nor a prompt.*pretrain"):
        renderer.rows(texts, sequence_len=None)


def test_plain_text_needs_an_eos(encoder: Renderer) -> None:
    with pytest.raises(ModelError, match="names no eos token"):
        encoder.rows([Example(row_id="t:1", text="a violin")], sequence_len=None, objective="pretrain")


def test_an_encoder_classifies_with_its_special_tokens(encoder: Renderer, renderer: Renderer) -> None:
    text = Example(row_id="t:1", text="the violin and the lute", label="strings")
    rows = encoder.rows([text], sequence_len=None, objective="classify")
    assert rows.ids.tolist() == [2, *encoder.encode("the violin and the lute"), 3]
    assert not rows.weights.any()
    assert rows.report.zero_coverage == ()
    decoder = renderer.rows([text], sequence_len=None, objective="classify")
    assert decoder.ids.tolist() == renderer.encode("the violin and the lute", special=True)


def test_a_classifier_keeps_its_special_tokens_when_cut(encoder: Renderer) -> None:
    text = Example(row_id="t:1", text="the violin and the lute")
    rows = encoder.rows([text], sequence_len=4, objective="classify", truncation="right")
    assert rows.ids.tolist() == [2, *encoder.encode("the violin"), 3]
    assert rows.report.truncated == ("t:1",)


def test_a_text_without_tokens_is_refused(renderer: Renderer) -> None:
    with pytest.raises(DataError, match="t:1: has no tokens"):
        renderer.rows([Example(row_id="t:1", text="")], sequence_len=None, objective="classify")


def test_a_cached_rendering_is_mapped_and_equal(renderer: Renderer, tmp_path: Path) -> None:
    fresh = render_cached(renderer, PAIRS, tmp_path, sequence_len=40, truncation="drop")
    (folder,) = tmp_path.iterdir()
    before = (folder / "ids.npy").stat().st_mtime_ns
    again = render_cached(renderer, PAIRS, tmp_path, sequence_len=40, truncation="drop")
    plain = renderer.rows(PAIRS, sequence_len=40, truncation="drop")
    assert isinstance(again.ids, np.memmap)
    assert (folder / "ids.npy").stat().st_mtime_ns == before
    for rows in (fresh, again):
        for name in ("ids", "weights", "offsets", "kept"):
            assert np.array_equal(getattr(rows, name), getattr(plain, name))
        assert rows.row_ids == plain.row_ids == ["pairs.jsonl:1", "pairs.jsonl:3"]
        facts, expected = dataclasses.asdict(rows.report), dataclasses.asdict(plain.report)
        assert np.array_equal(facts.pop("coverage"), expected.pop("coverage"))
        assert facts == expected


def test_the_cache_key_holds_all_that_decides(renderer: Renderer, tiny_llama: Path, tmp_path: Path) -> None:
    other_template = Renderer.from_folder(tiny_llama, chat_template=f"Note. {renderer.tokens.template}")
    other_tokens = _with_another_token(tiny_llama, tmp_path / "model")
    heavier = [dataclasses.replace(PAIRS[0], weight=2.0), *PAIRS[1:]]
    changed = [pair(1, "151 euros"), *PAIRS[1:]]
    cache = tmp_path / "cache"
    render_cached(renderer, PAIRS, cache, sequence_len=None)
    render_cached(renderer, PAIRS, cache, sequence_len=None, progress=lambda done, total: None)
    assert len(list(cache.iterdir())) == 1
    for number, (who, rows, settings) in enumerate(
        [
            (other_template, PAIRS, {}),
            (other_tokens, PAIRS, {}),
            (renderer, heavier, {}),
            (renderer, changed, {}),
            (renderer, PAIRS[::-1], {}),
            (renderer, PAIRS, {"train_on": "all"}),
        ],
        start=2,
    ):
        render_cached(who, rows, cache, sequence_len=None, **settings)
        assert len(list(cache.iterdir())) == number


def test_a_template_with_a_clock_is_not_cached_beyond_the_day(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"{{{{ strftime_now('%Y') }}}}{Renderer.from_folder(tiny_llama).tokens.template}"
    clock = Renderer.from_folder(tiny_llama, chat_template=source)
    today = clock.fingerprint
    monkeypatch.setattr(render, "date", _Tomorrow)
    assert clock.fingerprint != today
    assert Renderer.from_folder(tiny_llama).fingerprint == Renderer.from_folder(tiny_llama).fingerprint


def test_a_failed_rendering_leaves_no_cache(renderer: Renderer, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        render_cached(renderer, PAIRS, tmp_path / "cache", sequence_len=5)
    assert not (tmp_path / "cache").exists()


def test_the_second_of_two_writers_gives_way(renderer: Renderer, tmp_path: Path) -> None:
    rows = renderer.rows(PAIRS, sequence_len=None)
    rendered.save(rows, tmp_path / "key")
    rendered.save(rows, tmp_path / "key")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


class _Tomorrow:
    @staticmethod
    def today() -> _Tomorrow:
        return _Tomorrow()

    def isoformat(self) -> str:
        return "2999-01-01"


def _with_another_token(folder: Path, copy: Path) -> Renderer:
    shutil.copytree(folder, copy)
    tokenizer = Renderer.from_folder(folder).tokens.tokenizer
    tokenizer.add_tokens(["luthier"])
    tokenizer.save(str(copy / "tokenizer.json"))
    return Renderer.from_folder(copy)
