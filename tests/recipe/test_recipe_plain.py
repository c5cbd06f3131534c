"""Recipes written out, hashed and compared."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from annotated_types import Gt, Le, Lt
from hypothesis import example, given, settings
from hypothesis import strategies as st

from luthier.errors import RecipeError
from luthier.recipe import (
    Recipe,
    diff,
    dump_yaml,
    fingerprint,
    format_memory,
    from_mapping,
    load,
    parse_memory,
)
from luthier.recipe.accepts import _bare, _marks, _members, annotation, choices, every_key
from luthier.recipe.document import parse_value, scalar
from luthier.recipe.rules import contradictions
from luthier.recipe.units import parse_time

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
SPECIAL = {
    "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True),
    "alias": st.none() | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True),
    "max_time": st.sampled_from(["90s", "1h30m"]),
    "memory": st.sampled_from(["auto", "8GB", "1.5 GiB"]),
    "disk": st.sampled_from(["auto", "20GB"]),
    "metrics": st.just("auto") | st.lists(st.sampled_from(["nll", "exact_match"]), min_size=1, unique=True),
    "baselines": st.lists(st.sampled_from(["base", "few_shot"]), min_size=1, unique=True),
    "lora_target_modules": st.just("all-linear") | st.lists(TEXT, min_size=1, max_size=2),
    "class_weights": st.sampled_from(["none", "balanced"]) | st.dictionaries(TEXT, st.floats(0.1, 9), max_size=2),
}


def values(key: tuple[str | int, ...], name: str) -> st.SearchStrategy[Any]:
    """What `key` takes, from its annotation."""
    if name in SPECIAL:
        return SPECIAL[name]
    hint = annotation(key)
    fixed = [st.sampled_from(choices(hint))] if choices(hint) else []
    return st.one_of(*fixed, *(_free(kind) for kind in _members(hint) if not choices(kind)))


def _free(kind: Any) -> st.SearchStrategy[Any]:
    marks = list(_marks(kind))
    low = next((float(str(mark.gt)) for mark in marks if isinstance(mark, Gt)), 0.0)
    bounds = (mark.lt if isinstance(mark, Lt) else mark.le for mark in marks if isinstance(mark, Lt | Le))
    high = float(str(next(bounds, 1e9)))
    floats = st.floats(low, high, exclude_min=True, exclude_max=True)
    by_type: dict[Any, st.SearchStrategy[Any]] = {
        bool: st.booleans(), int: st.integers(1, int(high) - 1), float: floats,
        str: TEXT, type(None): st.none(),
    }  # fmt: skip
    return by_type[_bare(kind)]


@st.composite
def mappings(draw: st.DrawFn) -> dict[str, Any]:
    """A recipe with one or two data entries and up to five other keys."""
    entries = st.fixed_dictionaries({"path": TEXT}, optional={"field_text": TEXT, "weight": st.floats(0.1, 5)})
    given: dict[str, Any] = {
        "base_model": draw(TEXT),
        "data": draw(st.lists(entries, min_size=1, max_size=2)),
    }
    others = [(key, name) for key, _, name in every_key() if key[0] not in ("base_model", "data")]
    for key, name in draw(st.lists(st.sampled_from(others), max_size=5, unique=True)):
        section = given.setdefault(str(key[0]), {}) if len(key) == 2 else given
        section[name] = draw(values(key, name))
    return given


@settings(max_examples=60, deadline=None)
@given(mappings())
def test_what_is_written_out_loads_as_the_same_recipe(given: dict[str, Any]) -> None:
    recipe = Recipe.model_validate(given)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.yaml"
        path.write_text(dump_yaml(recipe), encoding="utf-8", newline="")
        if list(contradictions(recipe)):
            with pytest.raises(RecipeError):
                load(path)
        else:
            again = load(path).recipe
            assert again == recipe
            assert fingerprint(again) == fingerprint(recipe)
            assert diff(again, recipe) == []
    assert Recipe.model_validate(recipe.to_plain()) == recipe


@settings(max_examples=60, deadline=None)
@given(TEXT)
@example("\x85 \u2028\n\ufeff\x00")
@example("1e5")
@example("no")
def test_a_scalar_stands_on_one_line_and_is_read_back(text: str) -> None:
    assert "\n" not in scalar(text)
    assert parse_value(scalar(text), "here") == text


def test_a_fingerprint_depends_on_values_only() -> None:
    plain = from_mapping({"base_model": "m", "data": "d", "adapter": {"lora_alpha": 32}})
    assert fingerprint(plain) == fingerprint(from_mapping({"data": ["d"], "base_model": "m", "adapter": "lora"}))
    assert fingerprint(plain) != fingerprint(from_mapping({"base_model": "m", "data": "e"}))


def test_a_difference_names_key_old_and_new() -> None:
    old = from_mapping({"base_model": "m", "data": "d", "train": {"seed": 1}})
    new = from_mapping({"base_model": "m", "data": ["e", "f"], "evaluate": {"metrics": ["nll"]}})
    changes = diff(old, new)
    assert changes[0] == ("data.0.path", "d", "e")
    assert changes[1][:2] == ("data.1", None)
    assert changes[1][2]["path"] == "f"
    assert changes[2:] == [("train.seed", 1, 0), ("evaluate.metrics", "auto", ["nll"])]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), (" 1H2M3S ", 3723)]
)
def test_times(text: str, seconds: int) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    ("text", "amount"), [("8GB", 8 * 10**9), ("512MB", 512 * 10**6), ("1.5 gib", 3 * 2**29), ("4kB", 4000)]
)
def test_memory(text: str, amount: int) -> None:
    assert parse_memory(text) == amount


def test_memory_is_written_as_it_is_read() -> None:
    assert parse_memory(format_memory(16_799_999_999)) == 16_799_000_000


@pytest.mark.parametrize("text", ["", "0s", "h", "1d", "5", "1m1h", "-1s", "1.5h"])
def test_no_times(text: str) -> None:
    with pytest.raises(RecipeError, match="1h30m"):
        parse_time(text)


@pytest.mark.parametrize("text", ["", "0GB", "8", "8 bytes", "-1GB", "8GBs"])
def test_no_memory(text: str) -> None:
    with pytest.raises(RecipeError, match="8GB"):
        parse_memory(text)
