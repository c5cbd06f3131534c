"""What clients may write, and how it is told that they may not."""

from __future__ import annotations

import pytest

from luthier.errors import DataError
from luthier.feedback.parse import parse


def item(kind: str, value, **more):
    return {"trace_id": "chatcmpl-1", "kind": kind, "value": value, **more}


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (item("rating", "up"), {"rating": "up", "index": 0}),
        (item("rating", 5, index=2), {"rating": 5, "index": 2}),
        (item("correction", "3 euros"), {"message": {"role": "assistant", "content": "3 euros"}, "index": 0}),
        (item("choice", {"chosen": 1, "rejected": 0}), {"chosen": {"index": 1}, "rejected": [{"index": 0}]}),
        (
            item("choice", {"chosen": "3 euros", "rejected": [0, {"trace_id": "chatcmpl-2"}]}),
            {"chosen": {"text": "3 euros"}, "rejected": [{"index": 0}, {"trace_id": "chatcmpl-2", "index": 0}]},
        ),
        (item("label", " money "), {"label": "money"}),
        (item("label", ["b", "a", "b"]), {"labels": ["a", "b"]}),
    ],
)
def test_what_is_said_is_brought_to_one_form(given, value) -> None:
    new = parse(given)
    assert (new.trace_id, new.kind, new.value) == ("chatcmpl-1", given["kind"], value)


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ("up", ""),
        ({"kind": "rating", "value": "up"}, "trace_id"),
        (item("stars", 5), "kind"),
        ({"trace_id": "c", "kind": "rating"}, "value"),
        (item("rating", 6), "value"),
        (item("rating", True), "value"),
        (item("rating", 2.5), "value"),
        (item("rating", "up", index=-1), "index"),
        (item("rating", "up", stars=1), "stars"),
        (item("rating", "up", rater=" "), "rater"),
        (item("rating", "up", rater=7), "rater"),
        (item("rating", "up", id="a b"), "id"),
        (item("rating", "up", comment="x" * 10_001), "comment"),
        (item("correction", ""), "value"),
        (item("correction", {"role": "user", "content": "x"}), "value"),
        (item("correction", {"role": "assistant", "content": [{"type": "image_url"}]}), "value"),
        (item("choice", {"chosen": 0}), "value"),
        (item("choice", {"chosen": 0, "rejected": []}), "value"),
        (item("choice", {"chosen": 0, "rejected": 0}), "value"),
        (item("choice", {"chosen": 0, "rejected": [1, 1]}), "value"),
        (item("choice", {"chosen": True, "rejected": 0}), "value"),
        (item("choice", {"chosen": 0, "rejected": 1}, index=0), "index"),
        (item("label", []), "value"),
        (item("label", ["", "a"]), "value"),
    ],
)
def test_anything_else_is_refused_by_the_key_that_is_wrong(given, where) -> None:
    with pytest.raises(DataError) as refused:
        parse(given)
    assert refused.value.where == where
    assert refused.value.mend


def test_a_retry_has_the_same_id_and_a_change_of_mind_too() -> None:
    first = parse(item("rating", "up", rater="ana"))
    assert parse(item("rating", "up", rater="ana")).id == first.id
    changed = parse(item("rating", "down", rater="ana"))
    assert (changed.id, changed.replaces) == (first.id, True)
    others = [
        item("rating", "up", rater="ben"), item("rating", "up", rater="ana", index=1), item("rating", "up"),
        item("rating", "down"), item("label", "up", rater="ana"),
    ]  # fmt: skip
    assert len({first.id, *(parse(other).id for other in others)}) == 6


def test_without_a_rater_nothing_is_replaced() -> None:
    assert not parse(item("rating", "up")).replaces
    assert not parse(item("rating", "up", id="own-1", rater="ana")).replaces


def test_a_choice_between_other_answers_is_another_choice() -> None:
    ab, ba, ac = (
        parse(item("choice", {"chosen": chosen, "rejected": rejected}, rater="ana"))
        for chosen, rejected in ((0, 1), (1, 0), (0, 2))
    )
    assert ab.id == ba.id != ac.id
