"""What is written in a format and read again says the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.convert import convert
from luthier.data.example import Example
from luthier.data.sources import read
from luthier.data.write import write
from luthier.errors import DataError
from luthier.recipe.types import DataEntry

sign = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
said = st.text(sign, min_size=1).filter(str.strip)
word = st.text(st.characters(categories=["L", "N"]), min_size=1)


def turn(role: str) -> st.SearchStrategy[dict[str, Any]]:
    return said.map(lambda content: {"role": role, "content": content})


chats = st.lists(st.tuples(turn("user"), turn("assistant")), min_size=1, max_size=3).map(
    lambda pairs: {"messages": tuple(message for pair in pairs for message in pair)}
)
exchanges = st.fixed_dictionaries({"prompt": said, "completion": said})
CONTENTS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "chat": chats,
    "sharegpt": chats,
    "alpaca": exchanges,
    "prompt_completion": exchanges,
    "text": st.fixed_dictionaries({"text": said}),
    "classification": st.fixed_dictionaries({"text": said, "label": word}),
    "preference": st.fixed_dictionaries({"prompt": said, "chosen": said, "rejected": said}),
    "kto": st.fixed_dictionaries({"prompt": said, "completion": said, "desirable": st.booleans()}),
}
NESTED = ("chat", "sharegpt")
ENDS = ("jsonl", "json", "csv", "tsv", "parquet")
CASES = [(kind, end) for kind in CONTENTS for end in (ENDS[:2] if kind in NESTED else ENDS)]


@pytest.mark.parametrize(("kind", "end"), CASES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_round_trip(kind: Any, end: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    contents = data.draw(st.lists(CONTENTS[kind], min_size=1, max_size=4))
    examples = [Example(f"a:{number}", **content) for number, content in enumerate(contents, 1)]
    path = tmp_path_factory.mktemp("rows") / f"a.{end}"
    write(examples, path, kind)
    again = read(DataEntry(path=path.name, type=kind), path.parent).examples
    assert [example.content_id for example in again] == [example.content_id for example in examples]


CALL = {"id": "call_2_0", "type": "function", "function": {"name": "look", "arguments": '{"x": 1}'}}
CALLING = Example(
    "a:1",
    messages=(
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "1", "tool_call_id": "call_2_0"},
        {"role": "assistant", "content": "one"},
    ),
    tools=({"type": "function", "function": {"name": "look", "parameters": {}}},),
)
PAIR = Example(
    "a:1",
    messages=({"role": "user", "content": "hi"},),
    chosen=({"role": "assistant", "content": "hello"},),
    rejected=({"role": "assistant", "content": "no"},),
)
SYSTEM = Example("a:1", messages=tuple({"role": r, "content": r} for r in ("system", "user", "assistant")))


@pytest.mark.parametrize(
    ("example", "kind"),
    [
        (CALLING, "chat"),
        (CALLING, "sharegpt"),
        (PAIR, "preference"),
        (
            Example("a:1", messages=PAIR.messages, chosen=PAIR.chosen, rejected=PAIR.rejected, tools=CALLING.tools),
            "preference",
        ),
        (SYSTEM, "alpaca"),
        (SYSTEM, "prompt_completion"),
        (Example("a:1", text="x", labels=("a", "b")), "classification"),
    ],
)
def test_round_trip_of_what_only_json_can_hold(tmp_path: Path, example: Example, kind: Any) -> None:
    write([example], tmp_path / "a.jsonl", kind)
    (again,) = read(DataEntry(path="a.jsonl"), tmp_path).examples
    assert again.content_id == example.content_id


@pytest.mark.parametrize(
    ("example", "kind", "words"),
    [
        (CALLING, "alpaca", "not one question and one answer"),
        (CALLING, "text", "not plain text"),
        (PAIR, "chat", "not a conversation. Choose another type to write, such as preference"),
        (SYSTEM, "kto", "not a completion with a verdict"),
        (SYSTEM, "preference", "not a pair of answers"),
        (SYSTEM, "classification", "not a text with a label"),
        (Example("a:1", text="x"), "chat", "not a conversation. Choose another type to write, such as text"),
        (
            Example("a:1", messages=({"role": "assistant", "content": "x", "weight": 0},)),
            "sharegpt",
            "weights",
        ),
        (SYSTEM, "novel", "the type 'novel' is not known"),
    ],
)
def test_what_a_format_cannot_say_is_refused(tmp_path: Path, example: Example, kind: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        write([example], tmp_path / "a.jsonl", kind)
    assert not (tmp_path / "a.jsonl").exists()


def test_tables_hold_no_lists(tmp_path: Path) -> None:
    for name in ("a.csv", "a.parquet"):
        with pytest.raises(DataError, match="'messages' of row 1 is a list"):
            write([SYSTEM], tmp_path / name, "chat")
    with pytest.raises(DataError, match=r"files of type '\.txt' are not written"):
        write([SYSTEM], tmp_path / "a.txt", "chat")


def test_convert_reads_one_format_and_writes_another(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\nbuy now,spam\n")
    source = convert(DataEntry(path="a.csv"), tmp_path, tmp_path / "b.jsonl", "chat")
    assert (source.detected, source.rows) == ("classification", 1)
    (example,) = read(DataEntry(path="b.jsonl"), tmp_path).examples
    assert example.messages == (
        {"role": "user", "content": "buy now"},
        {"role": "assistant", "content": "spam"},
    )
