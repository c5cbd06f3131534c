"""Rows of feedback: stored once, replaced where that is meant, listed, reviewed and taken back."""

from __future__ import annotations

import pytest
from traces import chat_trace, forget

from luthier.errors import NotFound, StoreError
from luthier.store import feedback
from luthier.store.feedback import New


def up(name: str, trace_id: str = "c1", **values) -> New:
    return New(name, trace_id, "rating", {"rating": "up", "index": 0}, **values)


def test_the_same_feedback_twice_is_one_row(home) -> None:
    first = feedback.add(home, [up("a")])
    assert feedback.add(home, [up("a")]) == first
    assert feedback.list_page(home)[0] == first


def test_other_content_under_an_id_replaces_it_or_is_refused_whole(home) -> None:
    (first,) = feedback.add(home, [up("a", rater="ana")])
    feedback.set_review(home, dict.fromkeys(["a"], "accepted"))
    changed = New("a", "c1", "rating", {"rating": "down", "index": 0}, "ana", replaces=True)
    (second,) = feedback.add(home, [changed])
    assert (second.value["rating"], second.review) == ("down", None)
    assert second.created_at > first.created_at
    with pytest.raises(StoreError, match="other feedback with the id 'a'"):
        feedback.add(home, [up("b"), up("a")])
    assert [row.id for row in feedback.list_page(home)[0]] == ["a"]


def test_pages_go_from_the_newest_to_the_oldest(home) -> None:
    for number in range(5):
        feedback.add(home, [up(f"f{number}", "c1" if number % 2 else "c2")])
    page, more = feedback.list_page(home, limit=2)
    assert ([row.id for row in page], more) == (["f4", "f3"], True)
    page, more = feedback.list_page(home, after="f3", limit=3)
    assert ([row.id for row in page], more) == (["f2", "f1", "f0"], False)
    assert [row.id for row in feedback.list_page(home, trace_id="c1")[0]] == ["f3", "f1"]
    assert feedback.list_page(home, kind="label") == ([], False)
    with pytest.raises(NotFound, match="no feedback has the id 'x'"):
        feedback.list_page(home, after="x")


def test_feedback_is_found_with_the_answers_of_a_model(home) -> None:
    for served in ("bridges@1", "bridges@12", "bridges_2@1", "tiny"):
        feedback.add(home, [up(f"of-{served}", chat_trace(home, f"c-{served}", "how much?", "3", served=served))])
    found = feedback.of_models(home, "bridges")
    assert [(row.id, trace.served) for row, trace in found] == [
        ("of-bridges@1", "bridges@1"), ("of-bridges@12", "bridges@12")]  # fmt: skip
    assert len(feedback.of_models(home, "bridges", also=["tiny"])) == 3
    forget(home, "c-bridges@1")
    assert len(feedback.of_models(home, "bridges")) == 1
    assert feedback.without_answer(home) == 1
    assert feedback.answers(home, ["c-bridges@1", "c-tiny"]).keys() == {"c-tiny"}


def test_feedback_is_taken_back_and_reviewed_by_id(home) -> None:
    feedback.add(home, [up("a"), up("b")])
    feedback.remove(home, "a")
    feedback.add(home, [up("c")])
    feedback.set_review(home, dict.fromkeys(["c"], "rejected"))
    assert feedback.standing(home, ["a", "b", "c"]) == {"b"}
    with pytest.raises(NotFound):
        feedback.remove(home, "a")
    with pytest.raises(NotFound):
        feedback.get(home, "a")
    with pytest.raises(NotFound):
        feedback.set_review(home, dict.fromkeys(["b", "a"], "rejected"))
    assert feedback.get(home, "b").review is None
