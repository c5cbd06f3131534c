"""Preference pairs as rows: the prompt that both begin with, the answers that count, and pairs that lose a row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from luthier.data.example import Example
from luthier.data.pairs import as_rows, rejoin
from luthier.data.render import Renderer
from luthier.errors import DataError

ASKED = ({"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Yes?"})
MORE = {"role": "user", "content": "Can I wait?"}


def pair(number: int, chosen: object = "Yes, you can.", rejected: object = "No.", **fields: object) -> Example:
    fields = {"prompt": "Can I wait for it?"} | fields
    return Example(f"p:{number}", chosen=chosen, rejected=rejected, **fields)  # type: ignore[arg-type]


def answer(text: str) -> tuple[dict[str, str], ...]:
    return ({"role": "assistant", "content": text},)


@pytest.fixture(scope="module")
def renderer(tiny_llama: Path) -> Renderer:
    return Renderer.from_folder(tiny_llama)


def rendered(renderer: Renderer, *pairs: Example, **settings: object):
    rows = [row for one in pairs for row in as_rows(one)]
    return rejoin(renderer.rows(rows, **{"sequence_len": None} | settings), pairs)  # type: ignore[arg-type]


def test_rows_are_the_prompt_and_an_answer_each(renderer: Renderer) -> None:
    one = pair(1)
    rows = rendered(renderer, one)
    prompt = renderer.prompt("Can I wait for it?")
    for number, said in enumerate(("Yes, you can.", "No.")):
        ids, weights = rows.row(number)
        assert ids[: len(prompt)].tolist() == prompt
        assert renderer.decode(ids[weights > 0].tolist()) == said
        assert weights[: len(prompt)].sum() == 0
        assert weights[len(prompt)] == 1
    assert (len(rows), rows.kept.tolist(), rows.examples, rows.row_ids) == (2, [0, 0], [0], ["p:1", "p:1"])


def test_shared_turns_are_not_learnt_and_all_answers_behind_them_are(renderer: Renderer) -> None:
    longer = (*answer("Sure."), MORE, *answer("Two days."))
    rows = rendered(renderer, pair(1, longer, answer("No."), prompt=None, messages=(*ASKED, MORE)))
    learnt = [renderer.decode(ids[weights > 0].tolist()) for ids, weights in map(rows.row, range(2))]
    assert learnt == ["Sure.Two days.", "No."]


def test_a_pair_weighs_what_its_source_does(renderer: Renderer) -> None:
    assert set(rendered(renderer, pair(1, weight=2.5)).weights.tolist()) == {0.0, 2.5}


def test_a_pair_that_loses_a_row_is_left_out_and_named_once(renderer: Renderer) -> None:
    pairs = [pair(1), pair(2, rejected="a" * 300), pair(3), pair(4, "b" * 300, "c" * 300)]
    rows = rendered(renderer, *pairs, sequence_len=100, truncation="drop")
    assert (rows.examples, rows.kept.tolist(), rows.report.rows) == ([0, 2], [0, 0, 2, 2], 4)
    assert (rows.report.dropped, rows.report.truncated) == (("p:2", "p:4"), ())
    assert rows.report.tokens == len(rows.ids) == rows.offsets[-1] == rows.lengths.sum()
    assert rows.report.trained_tokens == np.count_nonzero(rows.weights)
    whole = rendered(renderer, pairs[0], pairs[2])
    assert all(np.array_equal(getattr(rows, name), getattr(whole, name)) for name in ("ids", "weights", "offsets"))
    assert np.array_equal(rows.report.coverage, whole.report.coverage)


def test_a_row_that_is_cut_to_its_prompt_takes_its_pair_with_it(renderer: Renderer) -> None:
    pairs = [pair(1), pair(2, prompt="a" * 300)]
    rows = rendered(renderer, *pairs, sequence_len=100, truncation="right")
    assert (rows.examples, rows.report.zero_coverage, rows.report.truncated) == ([0], ("p:2",), ("p:2",))


def test_no_pair_left_is_an_error(renderer: Renderer) -> None:
    with pytest.raises(DataError, match="no pair of 1 has two answers"):
        rendered(renderer, pair(1, rejected="a" * 300), sequence_len=100, truncation="drop")


def test_a_faulty_answer_is_named(renderer: Renderer) -> None:
    with pytest.raises(DataError, match=r"p:2 \(rejected\)"):
        rendered(renderer, pair(1), pair(2, rejected="a" * 300), sequence_len=100)


def test_without_a_template_turns_are_lines() -> None:
    first, second = as_rows(pair(1), as_text=True)
    assert first.text == "user: Can I wait for it?\nassistant: Yes, you can."
    assert second.text == "user: Can I wait for it?\nassistant: No."


def test_a_pair_asks_all_that_its_answers_share_and_is_answered_by_the_chosen_one() -> None:
    one = pair(1, answer("Sure."), answer("No."), prompt=None, messages=ASKED)
    assert one.question() == [dict(turn) for turn in ASKED]
    assert one.answer() == "Sure."
    assert pair(1).answer() == "Yes, you can."
