"""The ticket example says about itself only what is true."""

from __future__ import annotations

import csv
import json
import re
import runpy
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from rapidfuzz.fuzz import ratio

from luthier.recipe.load import load

TICKETS = Path(__file__).parents[2] / "examples" / "tickets"
ALLOWED = {
    "queue": {"billing", "technical", "account", "shipping", "retention", "sales"},
    "urgency": {"low", "normal", "high"},
    "product": {"hub", "thermostat", "camera", "app", "plan"},
}
PERSONAL = re.compile(r"[\w.]+@example\.(?:com|org|net)|\b(?:\d{4} ){3}\d{4}\b|\b(?:\d{3}-)?555-\d{4}\b")
COPIES = ("exact_duplicate", "near_duplicate", "leaked")


@cache
def messages(split: str) -> list[list[dict[str, str]]]:
    lines = (TICKETS / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["messages"] for line in lines]


def text(split: str, row: int) -> str:
    return messages(split)[row - 1][1]["content"]


def answer(split: str, row: int) -> dict[str, str]:
    return json.loads(messages(split)[row - 1][2]["content"])


def faults(*kinds: str) -> list[dict[str, Any]]:
    found = json.loads((TICKETS / "faults.json").read_text(encoding="utf-8"))["faults"]
    return [fault for fault in found if not kinds or fault["kind"] in kinds]


def plain(content: str) -> str:
    return re.sub(r"\W+", " ", content.lower()).strip()


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_row_is_one_question_and_one_answer_in_the_fixed_form(split: str) -> None:
    system = messages("test")[0][0]
    for row in messages(split):
        assert [message["role"] for message in row] == ["system", "user", "assistant"]
        assert row[0] == system
        labels = json.loads(row[2]["content"])
        assert row[2]["content"] == json.dumps(labels)
        assert list(labels) == list(ALLOWED)
        assert all(labels[field] in values for field, values in ALLOWED.items())


@pytest.mark.parametrize("split", ["train", "test"])
def test_messages_are_short(split: str) -> None:
    lengths = [len(row[1]["content"].split()) for row in messages(split)]
    assert min(lengths) >= 8
    assert max(lengths) <= 60
    assert 14 <= sum(lengths) / len(lengths) <= 26


def test_the_test_split_holds_every_value_and_at_least_eight_of_each_queue() -> None:
    answers = [answer("test", row) for row in range(1, len(messages("test")) + 1)]
    counts = {field: Counter(labels[field] for labels in answers) for field in ALLOWED}
    assert len(answers) >= 120
    assert all(set(counts[field]) == values for field, values in ALLOWED.items())
    assert min(counts["queue"].values()) >= 8


def test_the_policy_s_fixed_ties_hold_outside_the_listed_faults() -> None:
    wrong = {fault["row"] for fault in faults("wrong_label")}
    rows = [answer("train", row) for row in range(1, len(messages("train")) + 1) if row not in wrong]
    rows += [answer("test", row) for row in range(1, len(messages("test")) + 1)]
    leaving = [labels for labels in rows if labels["queue"] == "retention"]
    buying = [labels for labels in rows if labels["queue"] == "sales"]
    assert {(labels["product"], labels["urgency"] == "low") for labels in leaving} == {("plan", False)}
    assert {labels["urgency"] for labels in buying} == {"low", "high"}
    assert all(labels["product"] not in ("app", "plan") for labels in rows if labels["queue"] == "shipping")


def test_exact_duplicates_are_what_they_say() -> None:
    found = faults("exact_duplicate")
    assert len(found) == 12
    assert all(messages("train")[f["row"] - 1] == messages("train")[f["of_row"] - 1] for f in found)
    assert all(f["row"] != f["of_row"] for f in found)


def test_near_duplicates_differ_a_little() -> None:
    found = faults("near_duplicate")
    assert len(found) == 12
    for fault in found:
        one, other = text("train", fault["row"]), text("train", fault["of_row"])
        assert one != other
        assert ratio(one.lower(), other.lower()) > 92
        assert answer("train", fault["row"]) == answer("train", fault["of_row"])


def test_wrong_labels_name_the_right_one() -> None:
    found = faults("wrong_label")
    assert len(found) == 15
    for fault in found:
        assert answer("train", fault["row"])[fault["field"]] == fault["wrong"]
        assert fault["right"] in ALLOWED[fault["field"]] - {fault["wrong"]}


def test_leaked_rows_are_the_test_rows() -> None:
    found = faults("leaked")
    assert len(found) == 2
    assert all(text("train", fault["row"]) == text("test", fault["test_row"]) for fault in found)


def test_personal_data_stands_in_the_listed_rows_only() -> None:
    rows = {row for row in range(1, len(messages("train")) + 1) if PERSONAL.search(text("train", row))}
    listed = [fault["row"] for fault in faults("personal_data")]
    assert len(listed) == 10
    assert rows == set(listed)
    assert not any(PERSONAL.search(row[1]["content"]) for row in messages("test"))


def test_no_other_row_says_the_same_as_another() -> None:
    copies = {fault["row"] for fault in faults(*COPIES)}
    kept = [text("train", row) for row in range(1, len(messages("train")) + 1) if row not in copies]
    counts = Counter(plain(content) for content in kept + [row[1]["content"] for row in messages("test")])
    assert counts.most_common(1)[0][1] == 1


def test_the_csv_files_are_derived_from_the_chat_files() -> None:
    derive = runpy.run_path(str(TICKETS / "derive.py"))["derive"]
    for split in ("train", "test"):
        held = (TICKETS / f"queue_{split}.csv").read_text(encoding="utf-8")
        assert held == derive(TICKETS / f"{split}.jsonl")
        assert len(list(csv.DictReader(held.splitlines()))) == len(messages(split))


def test_the_pairs_are_derived_from_the_chat_files_and_differ_in_one_field() -> None:
    derive = runpy.run_path(str(TICKETS / "derive.py"))["derive_pairs"]
    for split in ("train", "test"):
        held = (TICKETS / f"pairs_{split}.jsonl").read_text(encoding="utf-8")
        assert held == derive(TICKETS / f"{split}.jsonl")
        for line, row in zip(held.splitlines(), messages(split), strict=True):
            pair = json.loads(line)
            assert [*pair["prompt"], *pair["chosen"]] == row
            right, wrong = (json.loads(pair[name][0]["content"]) for name in ("chosen", "rejected"))
            assert sum(right[field] != wrong[field] for field in ALLOWED) == 1
            assert all(wrong[field] in values for field, values in ALLOWED.items())


@pytest.mark.parametrize(("name", "files"), [("recipe.yaml", "jsonl"), ("recipe_queue.yaml", "csv")])
def test_the_recipes_name_files_that_exist(name: str, files: str) -> None:
    recipe = load(TICKETS / name).recipe
    assert [entry.split for entry in recipe.data] == ["train", "test"]
    assert all(entry.path.endswith(files) and (TICKETS / entry.path).is_file() for entry in recipe.data)
