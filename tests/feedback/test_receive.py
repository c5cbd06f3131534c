"""Feedback is held against the answers that it is of, and stored whole or not at all."""

from __future__ import annotations

import pytest
from traces import chat_trace, text_trace

from luthier.errors import DataError, NotFound
from luthier.feedback.receive import receive
from luthier.store import feedback


def said(trace_id: str, kind: str, value, **more):
    return {"trace_id": trace_id, "kind": kind, "value": value, **more}


def test_every_kind_is_stored(home) -> None:
    chat_trace(home, "c1", "how much?", "3 euros", "4 euros")
    chat_trace(home, "c2", "how much?", "5 euros")
    text_trace(home, "t1", "what does it cost")
    items = [
        said("c1", "rating", "down"), said("c1", "correction", "2 euros", index=1),
        said("c1", "choice", {"chosen": 1, "rejected": [0, {"trace_id": "c2"}]}),
        said("t1", "label", "money"), said("c1", "label", "money"),
    ]  # fmt: skip
    stored = receive(home, items)
    assert [row.kind for row in stored] == ["rating", "correction", "choice", "label", "label"]
    assert receive(home, items) == stored


@pytest.mark.parametrize(
    ("item", "error", "what"),
    [
        (said("gone", "rating", "up"), NotFound, "no answer has the id 'gone'"),
        (said("c1", "rating", "up", index=1), DataError, "has 1 choices, and none with the number 1"),
        (said("c1", "choice", {"chosen": 1, "rejected": 0}), DataError, "none with the number 1"),
        (said("c1", "choice", {"chosen": 0, "rejected": {"trace_id": "x"}}), NotFound, "no answer has the id 'x'"),
        (said("t1", "rating", "up"), DataError, "has no answer"),
    ],
)
def test_what_does_not_fit_its_answer_is_refused_with_all_that_came_along(home, item, error, what) -> None:
    chat_trace(home, "c1", "how much?", "3 euros")
    text_trace(home, "t1", "what does it cost")
    with pytest.raises(error, match=what):
        receive(home, [said("c1", "rating", "up"), item])
    assert feedback.list_page(home) == ([], False)


def test_the_faulty_one_of_several_is_named(home) -> None:
    chat_trace(home, "c1", "how much?", "3 euros")
    with pytest.raises(DataError) as refused:
        receive(home, [said("c1", "rating", "up"), said("c1", "rating", "good")])
    assert refused.value.where == "feedback.1.value"
    with pytest.raises(DataError, match="0 pieces"):
        receive(home, [])
