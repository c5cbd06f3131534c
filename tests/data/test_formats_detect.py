"""Which format a table has: from its columns and values, from the entry's keys, or a helpful error."""

from __future__ import annotations

from typing import Any

import pytest

from luthier.data.sources.formats import FORMATS
from luthier.data.sources.formats.detect import Detected, detect
from luthier.errors import DataError
from luthier.recipe.types import DataEntry

CHAT = [{"role": "user", "content": "a"}]
SHAREGPT = [{"from": "human", "value": "a"}]


def found(row: dict[str, Any], **entry: Any) -> Detected:
    return detect([row], DataEntry(path="a.jsonl", **entry), FORMATS, "a.jsonl")


def texts(names: str) -> dict[str, Any]:
    return dict.fromkeys(names.split(), "x")


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"messages": CHAT, "id": 1}, "chat"),
        ({"conversations": CHAT}, "chat"),
        ({"conversations": SHAREGPT, "tools": "[]"}, "sharegpt"),
        ({"messages": SHAREGPT}, "sharegpt"),
        (texts("instruction output"), "alpaca"),
        (texts("instruction input output"), "alpaca"),
        (texts("id instruction context response category"), "alpaca"),
        (texts("prompt completion"), "prompt_completion"),
        (texts("question answer source"), "prompt_completion"),
        (texts("Question Answer"), "prompt_completion"),
        (texts("input output"), "prompt_completion"),
        (texts("prompt completion label"), "prompt_completion"),
        (texts("prompt completion") | {"label": True}, "kto"),
        (texts("text"), "text"),
        (texts("text year speaker"), "text"),
        (texts("text label"), "classification"),
        (texts("text") | {"labels": ["a"]}, "classification"),
        (texts("id text category"), "classification"),
        (texts("utterance intent"), "classification"),
        (texts("chosen rejected"), "preference"),
        (texts("prompt chosen rejected"), "preference"),
        ({"input": {}, "preferred_output": [], "non_preferred_output": []}, "preference"),
    ],
)
def test_formats_are_told_by_columns_and_values(row: dict[str, Any], name: str) -> None:
    assert found(row).format.name == name


def test_the_reason_names_columns_used_and_kept_aside() -> None:
    detected = found(texts("id text category"))
    assert detected.columns == {"text": "text", "label": "category"}
    assert detected.why == "columns: text, 'category' as label; kept aside: id"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (texts("text label prompt completion"), "fit more than one type: prompt_completion"),
        (
            texts("instruction input output text"),
            "fit more than one type: alpaca (instruction, input",
        ),
        (texts("question answer") | {"choices": ["a"]}, "look like prompt_completion"),
        (texts("question answer context"), "would ignore 'context'"),
        (texts("text answer"), "would ignore 'answer'"),
        (texts("text label category"), "would ignore 'category'"),
        (texts("instruction input response1 response2"), "fit no known type. For type alpaca"),
        (texts("title description tag"), "type classification ('tag' is the label) set `field_text`"),
        (texts("a b"), "the columns a, b fit no known type. Set `type`"),
        ({"instruction": "x", "instances": [{"input": "", "output": "y"}]}, "write one row for each of them"),
        (texts("messages"), "look like chat (columns: messages), but the column 'messages' must be a list"),
        (texts("text label topic"), "or name the columns with `field_text` and `field_label`"),
        (dict.fromkeys([f"c{n}" for n in range(90)], "x"), "c10, c11 and 78 more fit no known type"),
        ({"x" * 9000: "a"}, "the columns " + "x" * 40 + "… fit no known type"),
    ],
)
def test_doubt_is_an_error_that_says_what_to_set(row: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError) as caught:
        found(row)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("row", "entry", "name"),
    [
        (texts("title tag"), {"field_text": "title"}, "classification"),
        (texts("title body"), {"field_text": "body"}, "text"),
        (texts("text verdict"), {"field_label": "verdict"}, "classification"),
        (texts("instruction input response1 response2"), {"field_output": "response1"}, "alpaca"),
        (texts("q a choices"), {"field_prompt": "q", "field_completion": "a"}, "prompt_completion"),
        (texts("best worst prompt"), {"field_chosen": "best", "field_rejected": "worst"}, "preference"),
        ({"talk": CHAT}, {"field_messages": "talk"}, "chat"),
        (texts("text label prompt completion"), {"type": "classification"}, "classification"),
        (texts("question answer choices"), {"type": "prompt_completion"}, "prompt_completion"),
    ],
)
def test_named_columns_and_types_decide(row: dict[str, Any], entry: dict[str, Any], name: str) -> None:
    detected = found(row, **entry)
    assert detected.format.name == name
    named = {value for key, value in entry.items() if key.startswith("field_")}
    assert named <= set(detected.columns.values())


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"field_text": "txet"}, "names the column 'txet', which is not there. Did you mean 'text'?"),
        ({"field_text": "zzz"}, "The columns are: text, label"),
        (
            {"type": "chat"},
            "for the messages, and the columns are: text, label. Set `field_messages`",
        ),
        (
            {"type": "text", "field_prompt": "text"},
            "has no meaning for type 'text'. It knows: field_text",
        ),
    ],
)
def test_faulty_entries(entry: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError) as caught:
        found(texts("text label"), **entry)
    assert words in str(caught.value)
