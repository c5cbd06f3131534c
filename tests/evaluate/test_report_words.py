"""Differences between answers and references, and numbers as text."""

import json

import pytest

from luthier.evaluate.report import words
from luthier.evaluate.report.numbers import (
    count,
    duration,
    fixed,
    money,
    p_value,
    setting,
    share,
    significant,
    size,
)
from luthier.evaluate.report.words import as_reference, clipped, fields, marked, plain


def test_fields_are_judged_as_the_metric_judges_them():
    target = {"product": "K1", "count": 1, "refund": True}
    before, after = {"product": " K1 ", "count": 1.0, "refund": "true"}, {"product": "K2", "note": "x"}
    found = {field.key: field for field in fields(target, before, after)}
    assert list(found) == ["product", "count", "refund", "note"]
    assert [found[key].baseline.right for key in found] == [True, True, False, True]
    assert [found[key].tuned.right for key in found] == [False, False, False, True]
    assert found["refund"].baseline.text == '"true"'
    assert found["refund"].tuned.text is None
    assert found["note"].reference is None


@pytest.mark.parametrize("reference", ["see {this}", "[1]", None, "{'a': 1}", ""])
def test_a_reference_that_is_no_object_has_no_fields(reference):
    assert as_reference(reference) is None


def test_an_object_may_come_as_text_or_as_a_mapping():
    assert as_reference({"a": 1}) == as_reference(json.dumps({"a": 1})) == {"a": 1}


def test_words_that_differ_are_marked_and_missing_ones_struck_through():
    assert marked("the red lamp works", "the blue lamp works") == "the <mark>red </mark>lamp works"
    assert marked("the lamp works", "the blue lamp works") == "the <del>blue </del>lamp works"
    assert marked("same", "same") == "same"


def test_an_answer_that_shares_nothing_is_marked_whole():
    assert marked("alpha beta", "one two three four") == "<mark>alpha beta</mark>"
    assert marked("", "one") == ""


def test_marked_text_is_escaped():
    attack = "<script>x</script>"
    for reference in (attack, "other words", f"{attack} and more words"):
        assert "<script>" not in marked(attack, reference)


def test_long_answers_are_shown_without_marks():
    text = "w " * (words.MOST_WORDS + 1)
    assert marked(text, text + "x") == text


def test_what_is_cut_is_counted():
    assert clipped("a" * (words.LONGEST + 5)).endswith("… [5 more characters]")
    assert clipped("short") == "short"


def test_a_conversation_is_text():
    assert plain([{"role": "user", "content": "Hi"}]) == "Hi"
    assert plain(["b", "c"]) == "b, c"
    assert plain({"a": "é"}) == '{"a": "é"}'


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (count(10003), "10,003"),
        (setting(["nll", 0.5, True]), "[nll, 0.5, true]"),
        (setting({"a": 2.0}), "{a: 2}"),
        (size(2048), "2 KiB"),
        (count(None), "–"),
        (fixed(-0.04, 1), "0.0"),
        (fixed(-1.25, 1, signed=True), "\u22121.2"),
        (fixed(3, 1, signed=True), "+3.0"),
        (share(0.6182), "61.8\u202f%"),
        (share(float("nan")), "–"),
        (size(4402341478), "4.10 GiB"),
        (size(1048576 * 300), "300 MiB"),
        (duration(0.42), "0.4 s"),
        (duration(59.7), "60 s"),
        (duration(1486.2), "24 min 46 s"),
        (duration(3599.9), "1 h 0 min"),
        (p_value(0.00012), "p\u00a0<\u00a00.001"),
        (p_value(0.0312), "p\u00a0=\u00a00.031"),
        (p_value(0.83), "p\u00a0=\u00a00.83"),
        (share(0.257, 0, signed=True), "+26\u202f%"),
        (share(-0.257, 0, signed=True), "−26\u202f%"),
        (money(0.0826), "0.0826"),
        (money(12), "12.00"),
        (significant(2.31e-5), "0.000023"),
        (significant(0), "0"),
    ],
)
def test_numbers_are_written_for_people(written, expected):
    assert written == expected
