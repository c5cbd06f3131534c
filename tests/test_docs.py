"""The documentation is complete, its links lead somewhere, its commands parse and its Python runs."""

from __future__ import annotations

import ast
import contextlib
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from pydantic import BaseModel

import luthier
from luthier.cli.app import build
from luthier.data.sources.formats import FORMATS
from luthier.models.families import DECODERS, ENCODERS, PADDED
from luthier.recipe.types import Recipe

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("**/*.md"))]
TYPES = ROOT / "src" / "luthier" / "recipe" / "types.py"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@cache
def text(page: Path) -> str:
    return page.read_text()


def blocks(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """The fenced blocks in one language, each with the line on which its code begins."""
    for fence in FENCE.finditer(text(page)):
        if fence[1] == language:
            yield text(page)[: fence.start(2)].count("\n") + 1, fence[2]


def prose(page: Path) -> str:
    return FENCE.sub("", text(page))


@by_page
def test_python_runs(page: Path, home: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for line, code in blocks(page, "python"):
        program = "\n" * (line - 1) + code  # so that a traceback names the line of the page
        exec(compile(program, str(page), "exec"), names)


@by_page
def test_commands_parse(page: Path) -> None:
    for line, block in blocks(page, "console"):
        for words in commands(block):
            try:
                parse(words)
            except Exception as error:
                pytest.fail(f"{page.relative_to(ROOT)}:{line} `{shlex.join(words)}`: {error}")


def commands(block: str) -> Iterator[list[str]]:
    """The words of each `$ luthier …`, without what follows a pipe or a redirection."""
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True) if line.startswith("$ ") else []
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        if words[:1] == ["luthier"]:
            end = next((i for i, word in enumerate(words) if word in {"|", ">", "2>", "&&", "&", ";"}), None)
            yield words[1:end]


def parse(words: list[str]) -> None:
    """Raises Click's own errors for an unknown verb or option, or a missing argument; calls nothing."""
    command, name = build(), "luthier"
    context = typer.Context(command, info_name=name)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name, command, words = command.resolve_command(context, words)
        context = typer.Context(command, info_name=name, parent=context)
    with contextlib.suppress(typer.Exit):  # --help and --version print and leave
        command.make_context(name, list(words), parent=context.parent)


@by_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(prose(page)) + IMAGE.findall(prose(page)):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    """The ids that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_page_is_on_the_map() -> None:
    listed = {target.partition("#")[0] for target in LINK.findall(text(DOCS / "index.md"))}
    assert {str(page.relative_to(DOCS)) for page in DOCS.glob("**/*.md")} - {"index.md"} <= listed


def verbs(command: Any, words: tuple[str, ...] = ()) -> Iterator[str]:
    for name, inner in getattr(command, "commands", {}).items():
        if hasattr(inner, "commands"):
            yield from verbs(inner, (*words, name))
        else:
            yield " ".join((*words, name))


@cache
def all_docs() -> str:
    return "\n".join(text(page) for page in sorted(DOCS.glob("**/*.md")))


@pytest.mark.parametrize("verb", verbs(build()))
def test_every_verb_is_documented(verb: str) -> None:
    assert f"luthier {verb}" in all_docs()


@pytest.mark.parametrize("name", luthier.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    assert re.search(rf"luthier\.{name}\b|`{name}`", all_docs())


def recipe_keys(section: type[BaseModel] = Recipe, path: str = "") -> Iterator[str]:
    """`train.learning_rate`, `data.path`, `chat_template` …"""
    for name, field in section.model_fields.items():
        inner = next((t for t in (field.annotation, *nested(field.annotation)) if is_section(t)), None)
        if inner is None:
            yield f"{path}{name}"
        else:
            yield from recipe_keys(inner, f"{path}{name}.")


def nested(annotation: Any) -> Iterator[Any]:
    for inner in get_args(annotation):
        yield inner
        yield from nested(inner)


def is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def test_the_table_of_families_is_that_of_the_code() -> None:
    table = dict(re.findall(r"^\| ((?:de|en)coders, \w+) \| (.*) \|$", text(DOCS / "models.md"), re.MULTILINE))
    for kind, known in {"decoders": DECODERS, "encoders": ENCODERS}.items():
        assert set(table[f"{kind}, packed"].split(", ")) == known - PADDED
        assert set(table[f"{kind}, padded"].split(", ")) == known & PADDED


KEYS = list(recipe_keys())


@pytest.mark.parametrize("key", KEYS)
def test_every_recipe_key_is_documented(key: str) -> None:
    assert f"`{key}`" in text(DOCS / "recipe.md").replace("`data.N.", "`data.")


@cache
def code() -> list[ast.AST]:
    """Every node of the source outside the recipe's own types."""
    files = [path for path in (ROOT / "src").rglob("*.py") if path != TYPES]
    return [node for path in files for node in ast.walk(ast.parse(path.read_text()))]


@cache
def names_read() -> frozenset[str]:
    """Every `.name`, every getattr(…, "name"), and the columns that the row formats look for."""
    attributes = {n.attr for n in code() if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load)}
    asked = [n.args[1] for n in code() if isinstance(n, ast.Call) and ast.unparse(n.func) == "getattr"]
    literal = {n.value for n in asked if isinstance(n, ast.Constant)}
    columns = {f"field_{role}" for form in FORMATS.values() for role in form.roles}
    return frozenset(attributes | literal | columns)


@pytest.mark.parametrize("key", KEYS)
def test_every_recipe_key_is_read(key: str) -> None:
    assert key.rpartition(".")[2] in names_read()
