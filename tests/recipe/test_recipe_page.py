"""The page about recipes, and what importing them costs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import luthier.recipe
from luthier.recipe import from_mapping, reference
from luthier.recipe.document import parse

PAGE = Path(__file__).parents[2] / "docs" / "recipe.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_the_page_holds_the_reference() -> None:
    assert reference() in PAGE.read_text(encoding="utf-8")


def test_the_recipes_on_the_page_load() -> None:
    assert len(blocks("yaml")) >= 3
    for block in blocks("yaml"):
        from_mapping(parse(block, "docs/recipe.md")[0])


def test_the_programs_on_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(block, names)


def test_every_public_name_is_there() -> None:
    assert luthier.recipe.__all__ == sorted(luthier.recipe.__all__)
    assert all(hasattr(luthier.recipe, name) for name in luthier.recipe.__all__)


def test_importing_recipes_loads_pydantic_and_yaml_and_little_else() -> None:
    code = "import luthier.recipe, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {
        "torch",
        "numpy",
        "pandas",
        "transformers",
        "scipy",
        "sklearn",
        "pyarrow",
        "sqlalchemy",
    } & set(loaded)
    assert {"pydantic", "yaml"} <= set(loaded)
