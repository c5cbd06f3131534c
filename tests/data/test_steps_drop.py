"""The steps that drop rows: what goes, what stays, and the reason that is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.example import Example
from luthier.data.steps.deduplicate import deduplicate
from luthier.data.steps.leakage import leakage
from luthier.data.steps.length import chars, length
from luthier.data.steps.usable import usable
from luthier.errors import DataError

USER = {"role": "user", "content": "hi"}
BOT = {"role": "assistant", "content": "hello"}
BLANK = {"role": "assistant", "content": " "}
CALL = {"id": "c", "type": "function", "function": {"name": "look", "arguments": '{"x": 1}'}}


def texts(*said: str) -> list[Example]:
    return [Example(f"a:{number}", text=text) for number, text in enumerate(said, 1)]


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        (Example("a:1", prompt="x", completion=" \n"), "blank completion"),
        (Example("a:1", prompt="", completion="x"), "blank prompt"),
        (Example("a:1", text=" "), "blank text"),
        (Example("a:1", messages=(USER,), chosen=(BLANK,), rejected=(BOT,)), "blank turn in chosen"),
        (Example("a:1", prompt="x", chosen="y", rejected="y"), "chosen equals rejected"),
        (Example("a:1", prompt="x", completion="y"), None),
        (Example("a:1", text="x", labels=()), None),
        (Example("a:1", messages=(USER, BOT | {"content": None, "tool_calls": [CALL]})), None),
        (Example("a:1", messages=(USER, {"role": "tool", "content": ""}, BOT)), None),
    ],
)
def test_rows_that_teach_nothing_are_dropped(example: Example, reason: str | None) -> None:
    kept, rejects = usable([example])
    assert [reject.reason for reject in rejects] == ([reason] if reason else [])
    assert kept == ([] if reason else [example])


def test_length_counts_everything_that_is_said() -> None:
    calling = (USER, BOT | {"content": None, "tool_calls": [CALL]})
    assert chars(Example("a:1", messages=calling)) == len("hi") + len('{"x": 1}')
    assert chars(Example("a:1", prompt="ab", chosen="c", rejected="de")) == 5


def test_length_bounds_are_inclusive() -> None:
    kept, rejects = length(texts("a", "ab", "abc", "abcd"), 2, 3)
    assert [example.text for example in kept] == ["ab", "abc"]
    assert [reject.reason for reject in rejects] == ["shorter than 2 characters", "longer than 3 characters"]
    assert length(texts("a" * 10_000), 0, None)[1] == []


def test_the_first_of_equal_rows_is_kept_and_named() -> None:
    kept, rejects = deduplicate(texts("a", "b", "a", "a"))
    assert [example.row_id for example in kept] == ["a:1", "a:2"]
    assert [(reject.example.row_id, reject.reason) for reject in rejects] == [
        ("a:3", "duplicate of a:1"),
        ("a:4", "duplicate of a:1"),
    ]
    assert {reject.kind for reject in rejects} == {"duplicate of another row"}


def test_rows_that_differ_in_label_or_tools_are_no_duplicates() -> None:
    rows = [Example(f"a:{n}", text="x", label=label) for n, label in enumerate(("p", "q", None))]
    assert deduplicate(rows)[1] == []


@given(st.lists(st.sampled_from("abcdef")))
def test_deduplicating_twice_changes_nothing(said: list[str]) -> None:
    kept, rejects = deduplicate(texts(*said))
    assert deduplicate(kept) == (kept, [])
    assert len(kept) + len(rejects) == len(said)
    assert {example.text for example in kept} == set(said)


def rows(split: str, *asked: str) -> list[Example]:
    return [Example(f"{split}:{n}", prompt=prompt, completion=split) for n, prompt in enumerate(asked, 1)]


def test_a_test_row_always_stays_and_train_gives_way() -> None:
    asked = {"train": "abc", "validation": "bd", "test": "ad"}
    splits = {name: rows(name, *prompts) for name, prompts in asked.items()}
    clean, rejects = leakage(splits, "drop")
    assert {name: [e.prompt for e in found] for name, found in clean.items()} == {
        "train": ["c"],
        "validation": ["b"],
        "test": ["a", "d"],
    }
    assert [(reject.example.row_id, reject.reason) for reject in rejects] == [
        ("validation:2", "same input as test:2 in test"),
        ("train:1", "same input as test:1 in test"),
        ("train:2", "same input as validation:1 in validation"),
    ]
    assert leakage(clean, "error") == (clean, [])


def test_leakage_can_be_an_error() -> None:
    splits = {"train": rows("train", "x", "a", "b"), "validation": [], "test": rows("test", "b", "a")}
    with pytest.raises(DataError, match=r"^train:2: 2 rows of train .* the same as test:2"):
        leakage(splits, "error")


def test_conversations_in_which_nobody_asks_are_compared_whole() -> None:
    one, other = (Example(f"a:{n}", messages=({"role": "assistant", "content": n},)) for n in "12")
    splits = {"train": [one], "validation": [], "test": [other]}
    assert leakage(splits, "drop")[1] == []
    assert len(leakage({**splits, "train": [other]}, "drop")[1]) == 1


def test_a_prompt_says_the_same_as_a_conversation_of_one_turn() -> None:
    told, asked = Example("a:1", prompt="hi", completion="hello"), Example("b:1", messages=(USER, BOT))
    assert [reject.reason for reject in deduplicate([told, asked])[1]] == ["duplicate of a:1"]
    other = Example("b:2", messages=(USER, BOT | {"content": "good day"}))
    assert deduplicate([told, other])[1] == []
    for train, test in ((other, told), (told, other)):
        clean, rejects = leakage({"train": [train], "test": [test]}, "drop")
        assert (clean["train"], [reject.example for reject in rejects]) == ([], [train])
    system = Example("b:3", messages=({"role": "system", "content": "be kind"}, USER, BOT))
    assert leakage({"train": [system], "test": [told]}, "drop")[1] == []
