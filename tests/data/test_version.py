"""Dataset versions: content addressed, stored once, and able to say where a row went."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data import version
from luthier.data.columns import read_examples, write_examples
from luthier.data.difference import difference
from luthier.data.example import Example
from luthier.data.pipeline import prepare
from luthier.data.prepared import Prepared
from luthier.errors import NotFound
from luthier.recipe.types import Recipe
from luthier.store import Home, datasets

Make = Callable[..., tuple[Prepared, Recipe]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Rows of text with labels, prepared."""

    def make(count: int = 40, said: str = "text", **entry: Any) -> tuple[Prepared, Recipe]:
        rows = [{"text": f"{said} {n}", "label": "xy"[n % 2], "more": {"n": n}} for n in range(count)]
        lines = [json.dumps(row) + "\n" for row in [*rows, rows[0]]]
        (tmp_path / "a.jsonl").write_text("".join(lines))
        data = {"path": "a.jsonl", "licence": "CC0-1.0", **entry}
        recipe = Recipe.model_validate({"base_model": "any", "data": data})
        return prepare(recipe, tmp_path), recipe

    return make


def test_what_is_written_is_read(home: Home, make: Make) -> None:
    prepared, recipe = make()
    written = version.write(home, prepared, recipe)
    for split, rows in prepared.splits.items():
        assert version.read(home, written.id, split) == rows
    assert version.rejects(home, written.id) == prepared.rejects
    assert version.get(home, written.id[:8]) == written
    with pytest.raises(NotFound, match="no split 'dev'"):
        version.read(home, written.id, "dev")


def test_the_manifest_says_where_everything_came_from(home: Home, make: Make) -> None:
    prepared, recipe = make()
    manifest = version.write(home, prepared, recipe, parents=["ds-0"]).manifest
    assert manifest["splits"] == {name: len(rows) for name, rows in prepared.splits.items()}
    assert manifest["sources"][0]["sha256"] == prepared.sources[0].sha256
    assert manifest["sources"][0]["files"] == ["a.jsonl"]
    assert manifest["steps"][2]["dropped"] == {"duplicate of another row": 1}
    assert (manifest["labels"], manifest["licences"]) == (["x", "y"], ["CC0-1.0"])
    assert (manifest["parents"], manifest["rejects"]) == (["ds-0"], 1)
    assert json.loads((version.folder(home, manifest["id"]) / "manifest.json").read_text()) == manifest


def test_the_same_data_is_one_version(home: Home, make: Make) -> None:
    first = version.write(home, *make())
    assert version.write(home, *make()) == first
    assert first.id.startswith("ds-")
    assert len(first.id) == 15
    assert len(datasets.list(home)) == 1


def test_whatever_differs_in_a_row_makes_another_version(make: Make) -> None:
    ids = {
        version.content_id(make(**settings)[0]) for settings in ({}, {"count": 41}, {"weight": 2}, {"licence": "MIT"})
    }
    assert len(ids) == 4
    prepared, _ = make()
    assert version.content_id(replace(prepared, rejects=[])) not in ids


def test_where_a_row_went(home: Home, make: Make) -> None:
    prepared, recipe = make()
    written = version.write(home, prepared, recipe)
    kept = prepared.splits["test"][0]
    assert version.where(home, written.id, kept.row_id) == version.Whereabouts(kept, split="test")
    dropped = version.where(home, written.id, "a.jsonl:41")
    assert (dropped.split, dropped.step, dropped.reason) == (None, "deduplicate", "duplicate of a.jsonl:1")
    with pytest.raises(NotFound, match=r"no row 'a\.jsonl:99'.* its files: a\.jsonl"):
        version.where(home, written.id, "a.jsonl:99")


def test_versions_are_compared(home: Home, make: Make) -> None:
    before = version.write(home, *make())
    after = version.write(home, *make(count=42))
    found = version.diff(home, before.id, after.id)
    assert set(found.added) == {"a.jsonl:41", "a.jsonl:42"}
    assert found.removed == found.edited == ()
    assert found.unchanged + len(found.moved) == 40


def test_the_kinds_of_difference() -> None:
    def row(number: int, text: str) -> Example:
        return Example(f"a:{number}", text=text)

    before = {"train": [row(1, "a"), row(2, "b"), row(3, "c"), row(4, "d")], "test": [row(5, "e")]}
    after = {"train": [row(1, "a"), row(2, "B"), row(9, "e")], "test": [row(3, "c"), row(7, "new")]}
    found = difference(before, after)
    assert (found.added, found.removed, found.edited) == (("a:7",), ("a:4",), ("a:2",))
    assert set(found.moved) == {("a:3", "train", "test"), ("a:9", "test", "train")}
    assert found.unchanged == 1


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("abc"), inner, max_size=2),
    max_leaves=5,
)
words = st.text(st.characters(exclude_categories=["Cs"]))
messages = st.lists(st.fixed_dictionaries({"role": words, "content": words, "tool_calls": values}), max_size=2).map(
    tuple
)
examples = st.builds(
    Example,
    row_id=words,
    messages=st.none() | messages,
    tools=st.none() | messages,
    text=st.none() | words,
    chosen=st.none() | words | messages,
    labels=st.none() | st.lists(words).map(tuple),
    desirable=st.none() | st.booleans(),
    weight=st.floats(0.1, 10),
    extra=st.dictionaries(words, values, max_size=2),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(examples, max_size=4))
def test_any_example_survives_parquet(tmp_path_factory: pytest.TempPathFactory, rows: list[Example]) -> None:
    path = tmp_path_factory.mktemp("columns") / "rows.parquet"
    write_examples(path, rows)
    assert read_examples(path) == (rows, {})
