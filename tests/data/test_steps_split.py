"""Cutting splits: a partition, stable, stratified, with groups and equal inputs whole."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.example import Example
from luthier.data.steps.leakage import leakage
from luthier.data.steps.split import split
from luthier.data.steps.strata import strata

SHARES = {"test": 0.15, "validation": 0.1}
Splits = dict[str, list[Example]]


def labelled(counts: dict[str, int]) -> list[Example]:
    rows = [(label, number) for label, count in counts.items() for number in range(count)]
    return [Example(f"a:{i}", text=f"{label} {n}", label=label) for i, (label, n) in enumerate(rows)]


def asked(count: int, start: int = 0) -> list[Example]:
    return [Example(f"a:{n}", prompt=f"question {n}", completion=f"answer {n}") for n in range(start, count)]


def home_of(splits: Splits) -> dict[str, str]:
    return {example.row_id: name for name, rows in splits.items() for example in rows}


row_lists = st.lists(
    st.tuples(st.sampled_from("abcdefghij"), st.sampled_from("xyz"), st.none() | st.sampled_from("12345")),
    min_size=1,
    max_size=40,
).map(lambda rows: [Example(f"r:{i}", text=t, label=y, group=g) for i, (t, y, g) in enumerate(rows)])


@settings(max_examples=50, deadline=None)
@given(row_lists, st.integers(0, 5), st.floats(0, 0.6), st.floats(0, 0.39))
def test_a_split_is_a_partition_in_order_that_nothing_crosses(
    rows: list[Example], seed: int, test: float, validation: float
) -> None:
    splits, _ = split(rows, {"test": test, "validation": validation}, seed)
    homes = home_of(splits)
    assert sorted(homes) == sorted(row.row_id for row in rows)
    assert sum(map(len, splits.values())) == len(rows)
    for name, found in splits.items():
        assert found == [row for row in rows if homes[row.row_id] == name]
    for of in (lambda row: row.text, lambda row: row.group or row.row_id):
        seen: dict[str, str] = {}
        for row in rows:
            assert seen.setdefault(of(row), homes[row.row_id]) == homes[row.row_id]
    assert leakage(splits, "drop")[1] == []
    assert splits["train"]


@settings(max_examples=30, deadline=None)
@given(row_lists, st.randoms())
def test_the_order_of_rows_does_not_matter(rows: list[Example], random) -> None:
    shuffled = random.sample(rows, len(rows))
    assert home_of(split(rows, SHARES, 0)[0]) == home_of(split(shuffled, SHARES, 0)[0])


def test_strata_keep_their_share() -> None:
    counts = {"a": 600, "b": 100, "c": 40, "d": 7, "e": 1}
    splits, words = split(labelled(counts), SHARES, 0)
    assert words == "label"
    for name, share in SHARES.items():
        taken = Counter(example.label for example in splits[name])
        for label in "abcd":
            assert abs(taken[label] - share * counts[label]) < 1
        assert taken["e"] == 0
    assert {example.label for example in splits["train"]} == set(counts)


def test_the_last_row_of_a_label_stays_in_train() -> None:
    single = {f"label {n}": 1 for n in range(50)}
    splits, _ = split(labelled({"often": 100, **single}), SHARES, 0)
    assert set(single) <= {example.label for example in splits["train"]}
    for seed in range(20):
        few, _ = split(labelled({"a": 3, "b": 1}), SHARES, seed)
        assert {example.label for example in few["train"]} == {"a", "b"}


def test_shares_are_right_on_average_for_rare_labels() -> None:
    counts = {f"label {n}": 3 for n in range(400)}
    splits, _ = split(labelled(counts), SHARES, 0)
    assert 150 < len(splits["test"]) < 210
    assert 90 < len(splits["validation"]) < 150


def test_added_rows_move_few_others() -> None:
    before = home_of(split(asked(1000), SHARES, 0)[0])
    after = home_of(split(asked(1100), SHARES, 0)[0])
    assert sum(before[row] != after[row] for row in before) < 30


def test_the_seed_decides() -> None:
    first, again, other = (home_of(split(asked(200), SHARES, seed)[0]) for seed in (0, 0, 1))
    assert first == again
    assert sum(first[row] != other[row] for row in first) > 30


def test_groups_are_joined_through_equal_inputs() -> None:
    chain = [Example(f"a:{n}", text=f"t{(n + 1) // 2}", label="x", group=f"g{n // 2}") for n in range(12)]
    rows = chain + [Example(f"b:{n}", text=f"b{n}", label="x") for n in range(88)]
    for seed in range(5):
        homes = home_of(split(rows, SHARES, seed)[0])
        assert len({homes[row.row_id] for row in chain}) == 1


def test_a_group_larger_than_a_split_stays_in_train() -> None:
    rows = [Example(f"a:{n}", text=f"t{n}", group="big" if n < 80 else f"g{n}") for n in range(100)]
    splits, _ = split(rows, SHARES, 0)
    assert all(row.group != "big" for name in SHARES for row in splits[name])
    assert len(splits["test"]) in (14, 15)


@pytest.mark.parametrize(("rows", "sizes"), [(3, (1, 1, 1)), (2, (1, 0, 1)), (1, (1, 0, 0))])
def test_few_rows_give_each_split_one_while_they_last(rows: int, sizes: tuple[int, int, int]) -> None:
    splits, _ = split(asked(rows), SHARES, 0)
    assert tuple(len(splits[name]) for name in ("train", "validation", "test")) == sizes


def test_a_share_of_zero_takes_nothing() -> None:
    assert split(asked(50), {"test": 0.0}, 0)[0]["test"] == []


TWO_LABELS = [Example("a:1", text="x", labels=("p", "q")), Example("a:2", text="x", labels=("p",))]


@pytest.mark.parametrize(
    ("rows", "words", "first"),
    [
        ([Example("a:1", text="x", label="p")], "label", "p"),
        (
            TWO_LABELS,
            "rarest label",
            "q",
        ),
        ([Example("a:1", prompt="x", completion="y", desirable=True)], "verdict", "True"),
        ([Example("a:1", prompt=str(n), completion="yes") for n in range(10)], "answer", "yes"),
        ([Example("a:1", prompt=str(n), completion="y" * 101) for n in range(10)], "", ""),
        ([Example("a:1", prompt=str(n), completion=str(n)) for n in range(10)], "", ""),
        ([Example("a:1", text=str(n)) for n in range(10)], "", ""),
    ],
)
def test_what_is_stratified_by(rows: list[Example], words: str, first: str) -> None:
    of_row, said = strata(rows)
    assert (said, of_row[0], len(of_row)) == (words, first, len(rows))
