"""Recipes that load, in every form in which they may be written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from luthier.errors import RecipeError
from luthier.recipe import DataEntry, Recipe, from_mapping, load, resolve_paths
from luthier.recipe.accepts import annotation, every_key, part_at
from luthier.recipe.document import parse
from luthier.recipe.shorthand import SECTIONS

SHORTEST = "base_model: smollm2-135m-instruct\ndata: tickets.jsonl\n"


@pytest.fixture
def shortest(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(SHORTEST)
    return path


def test_two_lines_are_a_recipe(shortest: Path) -> None:
    recipe, base = load(shortest)
    assert recipe == Recipe(base_model="smollm2-135m-instruct", data=(DataEntry(path="tickets.jsonl"),))
    assert base == shortest.parent


@pytest.mark.parametrize(
    "data",
    [
        "a.jsonl",
        {"path": "a.jsonl"},
        ["a.jsonl"],
        [{"path": "a.jsonl"}],
        Path("a.jsonl"),
        [DataEntry(path="a.jsonl")],
    ],
)
def test_data_may_be_a_path_an_entry_or_a_list(data: Any) -> None:
    assert from_mapping({"base_model": "m", "data": data}).data == (DataEntry(path="a.jsonl"),)
    assert Recipe(base_model="m", data=data).data == (DataEntry(path="a.jsonl"),)


def test_a_type_name_stands_for_its_section() -> None:
    recipe = from_mapping({"base_model": "m", "data": "d", "adapter": "head", "objective": "classify"})
    assert (recipe.adapter.type, recipe.objective.type) == ("head", "classify")


def test_short_forms_know_every_section() -> None:
    assert {name for name in Recipe.model_fields if name != "data" and part_at((name,))} == set(SECTIONS)


def test_an_empty_section_is_taken_as_not_written(shortest: Path) -> None:
    shortest.write_text(SHORTEST + "train:\nadapter:\n")
    assert load(shortest).recipe == from_mapping({"base_model": "smollm2-135m-instruct", "data": "tickets.jsonl"})


def test_a_byte_order_mark_is_no_part_of_the_first_key(shortest: Path) -> None:
    shortest.write_bytes(b"\xef\xbb\xbf" + SHORTEST.encode())
    assert load(shortest).recipe.base_model == "smollm2-135m-instruct"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("2.5E+3", 2500.0), (".5", 0.5), ("010", 10), ("True", True), ("~", None), ("", None),
        ("~/rows.jsonl", "~/rows.jsonl"), ("nullable", "nullable"), ("null", None),
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("2026-01-31", "2026-01-31"), ("1:30", "1:30"),
        ("1_000", "1_000"), ("0x1f", "0x1f"), ("'1'", "1"), ("[1, a]", [1, "a"]),
    ],
)  # fmt: skip
def test_scalars_are_read_as_yaml_1_2_says(text: str, value: Any) -> None:
    found = parse(f"key: {text}", "here")[0]["key"]
    assert found == value
    assert type(found) is type(value)


def test_settings_are_typed_and_reach_into_lists(shortest: Path) -> None:
    settings = [
        "train.learning_rate=1e-4",
        "data.0.weight=2",
        "data.1.path=more.jsonl",
        "evaluate.metrics=[exact_match, nll]",
        "evaluate.metrics.1=json_match",
        "adapter.lora_r=8",
        "ship.alias=",
        "base_model=a=b",
    ]
    recipe = load(shortest, settings).recipe
    assert recipe.train.learning_rate == 1e-4
    assert [(entry.path, entry.weight) for entry in recipe.data] == [
        ("tickets.jsonl", 2.0),
        ("more.jsonl", 1.0),
    ]
    assert recipe.evaluate.metrics == ("exact_match", "json_match")
    assert (recipe.adapter.lora_r, recipe.ship.alias, recipe.base_model) == (8, None, "a=b")


def test_settings_reach_below_a_short_form_and_the_last_one_counts(shortest: Path) -> None:
    shortest.write_text(SHORTEST + "adapter: lora\n")
    assert load(shortest, ["adapter.lora_r=4", "adapter.lora_r=2"]).recipe.adapter.lora_r == 2
    assert load(shortest, ["data=other.csv"]).recipe.data[0].path == "other.csv"


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("train.seed", ["--set train.seed", "--set train.learning_rate=1e-4"]),
        ("train..seed=1", ["--set train..seed=1", "not a setting"]),
        ("train.seed=*", ["--set train.seed=*", "not YAML", "quotes"]),
        ("train.sede=1", ["--set train.sede=1", "train.seed"]),
        ("train.batch_size=0", ["--set train.batch_size=0", "whole number above 0"]),
        ("data.3.path=x", ["data.3.path", "`3`", "numbered from 0"]),
        ("data.path=x", ["`path`", "`data`", "numbered from 0"]),
        ("base_model.x=1", ["`x`", "`base_model`", "holds no keys"]),
    ],
)
def test_a_wrong_setting_says_so(shortest: Path, setting: str, words: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        load(shortest, ["train.seed=1", setting])
    for word in words:
        assert word in str(caught.value)


def test_paths_are_taken_from_the_recipes_folder(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    given = {
        "base_model": "model",
        "data": ["../d.jsonl", "/abs/e.jsonl", "hub:owner/name", "s3://bucket/f.jsonl"],
        "chat_template": "t.jinja",
    }
    recipe = resolve_paths(from_mapping(given), tmp_path)
    assert recipe.base_model == str(tmp_path / "model")
    expected = [str(tmp_path.parent / "d.jsonl"), "/abs/e.jsonl", "hub:owner/name", "s3://bucket/f.jsonl"]
    assert [entry.path for entry in recipe.data] == expected
    assert recipe.chat_template == str(tmp_path / "t.jinja")
    packaged = from_mapping({"base_model": "smollm2-135m-instruct", "data": "d"})
    assert resolve_paths(packaged, tmp_path).base_model == "smollm2-135m-instruct"


def test_a_tilde_is_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    (tmp_path / "recipe.yaml").write_text("base_model: ~/model\ndata: ~/rows.jsonl\n")
    recipe = resolve_paths(load(tmp_path / "recipe.yaml").recipe, Path("/elsewhere"))
    assert (recipe.base_model, recipe.data[0].path) == (str(tmp_path / "model"), str(tmp_path / "rows.jsonl"))


def test_defaults_are_values_that_their_key_takes() -> None:
    plain = Recipe(base_model="m", data="d").to_plain()  # type: ignore[arg-type]
    assert Recipe.model_validate(plain).to_plain() == plain
    for key, section, name in every_key():
        field = section.model_fields[name]
        assert field.description, f"{key} has no docstring"
        if isinstance(field.default, int) and not isinstance(field.default, bool):
            assert "float" not in str(annotation(key)), f"{key}: a whole number as the default of a float"
