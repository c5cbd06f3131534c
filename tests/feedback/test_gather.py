"""From what raters say to rows: what counts, what is outvoted, and that nothing vanishes."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from luthier.errors import DataError
from luthier.feedback.gather import CUT, NO_OTHER, OTHER, PENDING, RATED, REJECTED, gather
from luthier.feedback.pairs import GONE, OTHER_QUESTION, SAME
from luthier.feedback.parse import parse
from luthier.feedback.said import CHANGED, DISAGREE, OUTVOTED, Gathered, Said
from luthier.feedback.settle import DIFFERENT, NEUTRAL, NOT_CORRECTED
from luthier.store.feedback import Answered, Feedback

NUMBERS = count()


def trace(name: str = "c1", asked: Any = "how much?", *answers: str, served: str = "bridges@1") -> Answered:
    messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for i, text in enumerate(answers)
    ]
    request = {"messages": messages}
    return Answered(name, f"2026-01-01T{name}", "chat.completions", served, None, request, {"choices": choices}, 200)


ONE = trace("c1", "how much?", "4 euros", "5 euros")


def said(kind: str, value: Any, rater: str | None = None, of: Answered = ONE, review=None, **more: Any) -> Said:
    number = next(NUMBERS)
    item = {"trace_id": of.id, "kind": kind, "value": value, "rater": rater, "id": f"f{number}", **more}
    new = parse({key: part for key, part in item.items() if part is not None})
    return Said(Feedback(new.id, f"at {number:06}", of.id, new.kind, new.value, rater, None, review), of)


def why(found: Gathered) -> list[str]:
    return [left.reason for left in found.left]


def answers(found: Gathered) -> list[str]:
    return [row.messages[-1]["content"] for row in found.rows]


def test_a_correction_becomes_a_row_that_says_where_it_came_from() -> None:
    system = [{"role": "system", "content": "be short"}, {"role": "user", "content": "how much?"}]
    one = said("correction", "3 euros", "ana", trace("c7", system, "4 euros"))
    found = gather([one], "generate", {})
    (row,) = found.rows
    assert row.messages == (*system, {"role": "assistant", "content": "3 euros"})
    assert (row.row_id, row.source, row.time) == ("feedback:c7", "feedback", one.row.created_at)
    assert row.ratings == (
        {"feedback": one.row.id, "kind": "correction", "rater": "ana", "at": one.row.created_at},
    )  # fmt: skip
    assert row.extra == {"traces": ["c7"], "served": ["bridges@1"]}
    assert found.used == {"feedback:c7": [one]}


@pytest.mark.parametrize(
    ("opinions", "rows", "reasons"),
    [
        ([("rating", "up", "a")], [], [RATED]),
        ([("rating", "down", "a")], [], [NOT_CORRECTED]),
        ([("rating", 3, "a"), ("correction", "3", "b")], ["3"], [NEUTRAL]),
        ([("rating", "up", "a"), ("correction", "3", "b")], [], [DISAGREE, DISAGREE]),
        ([("rating", 5, "a"), ("correction", "3", "b"), ("rating", 1, "c")], ["3"], [OUTVOTED]),
        ([("rating", 4, "a"), ("rating", "up", "b"), ("correction", "3", "c")], [], [OUTVOTED, RATED, RATED]),
        ([("rating", "up", "a"), ("correction", "3", "a")], ["3"], [CHANGED]),
        ([("correction", "3", "a"), ("rating", "up", "a")], [], [CHANGED, RATED]),
        ([("correction", "3", "a"), ("correction", "2", "b")], [], [DIFFERENT, DIFFERENT]),
        ([("correction", "3", "a"), ("correction", "2", "b"), ("correction", " 3", "c")], ["3"], [OUTVOTED]),
        ([("correction", "2", "a"), ("correction", "3", "a")], ["3"], [CHANGED]),
        ([("correction", "3", None), ("correction", "3", None)], ["3"], []),
        ([("correction", "3", None), ("rating", "up", None)], [], [DISAGREE, DISAGREE]),
        ([("choice", {"chosen": 0, "rejected": 1}, "a")], [], [OTHER["choice"]]),
        ([("label", "money", "a")], [], [OTHER["label"]]),
    ],
)
def test_raters_are_heard_and_nothing_vanishes(opinions, rows, reasons) -> None:
    heard = [said(*opinion) for opinion in opinions]
    found = gather(heard, "generate", {})
    assert answers(found) == rows
    assert sorted(why(found)) == sorted(reasons)
    ended = [one.row.id for used in found.used.values() for one in used] + [left.said.row.id for left in found.left]
    assert sorted(ended) == sorted(one.row.id for one in heard)


def test_answers_that_are_rated_high_are_learnt_where_that_is_asked_for() -> None:
    found = gather([said("rating", "up", "a", index=1), said("rating", "down", "b")], "generate", {}, accept_rated=True)
    assert answers(found) == ["5 euros"]
    assert found.rows[0].row_id == "feedback:c1#1"
    assert why(found) == [NOT_CORRECTED]


def test_an_answer_that_was_cut_off_is_not_learnt_however_it_is_rated() -> None:
    cut = trace("c1", "how much?", "about 3 eu")
    cut.answer["choices"][0]["finish_reason"] = "length"
    assert why(gather([said("rating", "up", "a", cut)], "generate", {}, accept_rated=True)) == [CUT]
    assert answers(gather([said("correction", "3 euros", "a", cut)], "generate", {})) == ["3 euros"]


def test_the_same_answer_to_the_same_question_is_judged_as_one() -> None:
    again = trace("c2", "how much?", "4 euros", served="bridges@2")
    found = gather([said("correction", "3", "a"), said("rating", "down", "b", again)], "generate", {})
    assert [row.extra for row in found.rows] == [{"traces": ["c1", "c2"], "served": ["bridges@1", "bridges@2"]}]
    other = trace("c3", "how much is it?", "4 euros")
    assert len(gather([said("correction", "3", "a"), said("correction", "2", "b", other)], "generate", {}).rows) == 2


def test_a_review_rejects_or_is_waited_for() -> None:
    heard = [said("correction", "3", "a", review="rejected"), said("correction", "2", "b")]
    assert why(gather(heard, "generate", {})) == [REJECTED]
    assert why(gather(heard, "generate", {}, reviewed=True)) == [REJECTED, PENDING]
    accepted = [said("correction", "2", "b", review="accepted")]
    assert answers(gather(accepted, "generate", {}, reviewed=True)) == ["2"]


def test_requests_that_cannot_be_learnt_from_say_why() -> None:
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
    found = gather([said("correction", "3", "a", trace("c1", picture, "4"))], "generate", {})
    (reason,) = why(found)
    assert reason.startswith("its request cannot be learnt from")
    assert "not text" in reason
    emptied = gather([said("correction", "3", "a", trace("c1", "[9 characters]", "[7 characters]"))], "generate", {})
    assert why(emptied) == ["its request cannot be learnt from: its text was not kept"]


def test_a_choice_becomes_a_pair_with_each_answer_that_was_not_chosen() -> None:
    other = trace("c2", "how much?", "6 euros")
    one = said("choice", {"chosen": "3 euros", "rejected": [0, 1, {"trace_id": "c2"}]}, "ana")
    found = gather([one], "preference", {"c2": other})
    assert [row.rejected[0]["content"] for row in found.rows] == ["4 euros", "5 euros", "6 euros"]
    assert {row.chosen[0]["content"] for row in found.rows} == {"3 euros"}
    assert all(row.messages == ({"role": "user", "content": "how much?"},) for row in found.rows)
    assert len({row.row_id for row in found.rows}) == 3


@pytest.mark.parametrize(
    ("opinions", "chosen", "reasons"),
    [
        ([((0, 1), "a"), ((1, 0), "b")], [], [DISAGREE, DISAGREE]),
        ([((0, 1), "a"), ((1, 0), "b"), ((0, 1), "c")], ["4 euros"], [OUTVOTED]),
        ([((0, 1), None), ((0, 1), None)], ["4 euros"], []),
        ([(("4 euros", 0), "a")], [], [SAME]),
        ([((0, {"trace_id": "gone"}), "a")], [], [GONE]),
        ([((0, {"trace_id": "else"}), "a")], [], [OTHER_QUESTION]),
    ],
)
def test_choices_are_counted_by_voice(opinions, chosen, reasons) -> None:
    heard = [said("choice", {"chosen": a, "rejected": b}, rater) for (a, b), rater in opinions]
    found = gather(heard, "preference", {"else": trace("else", "when?", "today")})
    assert [row.chosen[0]["content"] for row in found.rows] == chosen
    assert why(found) == reasons


def test_a_correction_is_preferred_to_what_it_corrects() -> None:
    heard = [said("correction", "3 euros", "a"), said("rating", "up", "b", index=1)]
    found = gather(heard, "preference", {})
    assert [(row.chosen[0]["content"], row.rejected[0]["content"]) for row in found.rows] == [("3 euros", "4 euros")]
    assert why(found) == [NO_OTHER]
    against = said("choice", {"chosen": 0, "rejected": "3 euros"}, "c")
    assert why(gather([*heard[:1], against], "preference", {})) == [DISAGREE, DISAGREE]


def test_labels_are_counted_by_voice() -> None:
    heard = [said("label", "money", "a"), said("label", "wood", "b"), said("label", "money", "c")]
    heard += [said("label", "wood", "a", trace("c2", "which?", "x")), said("label", ["x", "y"], "a", trace("c3", "k"))]
    heard += [said("label", "l", rater, trace("c4", "tie")) if rater else said("label", "m", "b", trace("c4", "tie"))
              for rater in ("a", None)]  # fmt: skip
    found = gather(heard, "classify", {})
    assert [(row.text, row.label, row.labels) for row in found.rows] == [
        ("how much?", "money", None), ("which?", "wood", None), ("k", None, ("x", "y"))]  # fmt: skip
    assert why(found) == [OUTVOTED, DISAGREE, DISAGREE]


def test_tasks_that_feedback_says_nothing_of_are_refused() -> None:
    with pytest.raises(DataError, match="no rows for `text`"):
        gather([], "text", {})
