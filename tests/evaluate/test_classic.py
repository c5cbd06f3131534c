"""The baseline of word counts: labels, several labels, short answers, JSON, and where it does not fit."""

from __future__ import annotations

import json
import random
import time

import pytest

from luthier.data.example import Example
from luthier.evaluate.classic import NotApplicable, classic

WORDS = {
    "refund": ["money", "back", "refund"],
    "delivery": ["parcel", "late", "courier"],
    "login": ["password", "account"],
}
MOODS = {"calm": ["thanks", "please"], "angry": ["terrible", "furious"]}
Row = tuple[str, str, str]


def made(count: int, seed: int) -> list[Row]:
    """(text, kind, mood) whose words give both away."""
    choose = random.Random(seed)
    rows = []
    for _ in range(count):
        kind, mood = choose.choice(list(WORDS)), choose.choice(list(MOODS))
        words = [*choose.choices(WORDS[kind], k=2), *choose.choices(MOODS[mood], k=2), f"number {choose.randrange(99)}"]
        choose.shuffle(words)
        rows.append((" ".join(words), kind, mood))
    return rows


TRAIN, TESTS = made(120, 0), made(40, 1)


def labelled(rows: list[Row]) -> list[Example]:
    return [Example(f"r:{i}", text=text, label=kind) for i, (text, kind, _) in enumerate(rows)]


def as_json(rows: list[Row]) -> list[Example]:
    return [
        Example(f"r:{i}", messages=(
            {"role": "system", "content": "Extract."}, {"role": "user", "content": text},
            {"role": "assistant", "content": json.dumps({"kind": kind, "mood": mood, "version": 2})},
        ))
        for i, (text, kind, mood) in enumerate(rows)
    ]  # fmt: skip


def test_labels() -> None:
    answers = classic(labelled(TRAIN), labelled(TESTS))
    assert sum(answer.label == kind for answer, (_, kind, _) in zip(answers, TESTS, strict=True)) >= 39
    assert answers[0].text is None


def test_short_answers() -> None:
    train = [Example(f"r:{i}", prompt=text, completion=mood) for i, (text, _, mood) in enumerate(TRAIN)]
    answers = classic(train, train)
    assert [answer.text for answer in answers] == [mood for _, _, mood in TRAIN]


def test_json_is_composed_field_by_field() -> None:
    start = time.process_time()
    answers = classic(as_json(TRAIN), as_json(TESTS))
    right = [answer.text == example.answer() for answer, example in zip(answers, as_json(TESTS), strict=True)]
    assert sum(right) >= 38
    assert time.process_time() - start < 2


def test_several_labels() -> None:
    rows = [Example(f"r:{i}", text=text, labels=(kind, mood)) for i, (text, kind, mood) in enumerate(TRAIN)]
    answers = classic(rows, rows)
    assert all(set(answer.labels) == set(row.labels) for answer, row in zip(answers, rows, strict=True))


def test_several_labels_name_at_least_one() -> None:
    rows = [Example(f"r:{i}", text=f"text {i}", labels=("abcdef"[i % 6],)) for i in range(12)]
    (answer,) = classic(rows, [Example("t:1", text="nothing known")])
    assert len(answer.labels) >= 1


def test_the_same_answers_each_time() -> None:
    assert classic(labelled(TRAIN), labelled(TESTS)) == classic(labelled(TRAIN), labelled(TESTS))


def test_one_label_only() -> None:
    rows = [Example(f"r:{i}", text=text, label="x") for i, (text, _, _) in enumerate(TRAIN)]
    assert {answer.label for answer in classic(rows, rows)} == {"x"}


@pytest.mark.parametrize(
    ("train", "reason"),
    [
        ([Example(f"r:{i}", prompt="q", completion=f"a long answer {i}") for i in range(30)], "not a closed set"),
        ([Example(f"r:{i}", prompt=" ", completion="x") for i in range(30)], "hold no text"),
        ([Example("r:1", text="plain text")], "no training row has an answer"),
    ],
)
def test_where_it_does_not_apply(train: list[Example], reason: str) -> None:
    found = classic(train, train)
    assert isinstance(found, NotApplicable)
    assert reason in found.reason


def test_test_rows_without_known_words_are_answered() -> None:
    assert len(classic(labelled(TRAIN), [Example("t:1", text="???"), Example("t:2", text="")])) == 2
