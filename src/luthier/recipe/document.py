"""YAML text to plain values, strictly, with the line of each key; and plain values to YAML text.

Scalars are read as YAML 1.2 says: `1e-4` is a number, `010` is ten, `no` and `2026-01-31` are text. Text is
written in quotes wherever YAML 1.1 or 1.2 would read something else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from luthier.errors import RecipeError
from luthier.recipe.accepts import Key, dotted

LARGEST = 1_000_000
"""Bytes; a longer file is not a recipe."""
DATA_SUFFIXES = {".jsonl", ".csv", ".tsv", ".parquet"}
CORE = {
    "null": (re.compile(r"(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    "int": (re.compile(r"[-+]?[0-9]+$"), list("-+0123456789")),
    "float": (
        re.compile(
            r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
        ),
        list("-+.0123456789"),
    ),
}
"""Scalar kinds of YAML 1.2's core schema: pattern and first characters (hexadecimal and octal left out)."""
PREFIX = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars; aliases are refused, so a document is a tree and its size is that of its text."""

    yaml_implicit_resolvers: dict[str, Any] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "`*` refers to another value", mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """Resolves by both versions' patterns, so whatever either would misread is quoted."""

    def represent_text(self, text: str) -> yaml.Node:
        """Line breaks and what cannot be seen are escaped in double quotes."""
        return self.represent_scalar(PREFIX + "str", text, style=None if text.isprintable() else '"')


for _kind, (_pattern, _starts) in CORE.items():
    _Loader.add_implicit_resolver(PREFIX + _kind, _pattern, _starts)
    _Dumper.add_implicit_resolver(PREFIX + _kind, _pattern, _starts)
_Dumper.add_representer(str, _Dumper.represent_text)


def read(path: Path) -> tuple[dict[str, Any], dict[Key, int]]:
    """The mapping in a YAML file, and the line (from 1) of each of its keys.

    Raises RecipeError for a file that cannot be read, is not UTF-8 or not YAML, or repeats a key.
    """
    return parse(_text(path), str(path))


def parse(text: str, where: str) -> tuple[dict[str, Any], dict[Key, int]]:
    """As `read`, of text that came from `where`."""
    lines: dict[Key, int] = {}
    node = _compose(text, where)
    if node is None:
        raise RecipeError("it is empty", where, "A recipe needs at least `base_model:` and `data:`")
    if not isinstance(node, yaml.MappingNode):
        raise RecipeError(
            "it is not a mapping of keys to values",
            where,
            "A recipe begins like `base_model: smollm2-135m-instruct`",
        )
    return _value(node, (), lines, where), lines


def parse_value(text: str, where: str) -> Any:
    """One YAML value: `1e-4` is a number, `[a, b]` a list, nothing is None."""
    node = _compose(text, where)
    return None if node is None else _value(node, (), {}, where)


def dump(plain: Any) -> str:
    """YAML text of plain values, keys in the order given."""
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def scalar(value: str | float | None) -> str:
    """One value as it stands after `key: ` on a line."""
    text: str = yaml.dump(value, Dumper=_Dumper, allow_unicode=True, width=float("inf"))
    return text.removesuffix("...\n").strip()


def _text(path: Path) -> str:
    where = str(path)
    try:
        if path.suffix in DATA_SUFFIXES or path.stat().st_size > LARGEST:
            raise RecipeError("this is data, not a recipe", where, f"Make a recipe: luthier init {path}")
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise RecipeError("there is no such file", where, "`luthier init DATA` writes a recipe for your data") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise RecipeError("it is not UTF-8 text", f"{where}, line {line}", "Save the file as UTF-8") from None
    except OSError as error:
        raise RecipeError(f"it cannot be read ({error.strerror})", where, "Give the path of a YAML file") from None


def _compose(text: str, where: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line if error.problem_mark else 0
        what, mend = _explain(error, text.splitlines()[line : line + 1])
        raise RecipeError(what, f"{where}, line {line + 1}", mend) from None
    except yaml.YAMLError as error:
        what = f"it is not YAML ({error.args[-1] if error.args else error})"
        raise RecipeError(what, where, "Give the path of a YAML file") from None
    except RecursionError:
        raise RecipeError("it is nested too deeply to be a recipe", where, "Give the path of a recipe") from None


def _explain(error: yaml.MarkedYAMLError, line: list[str]) -> tuple[str, str]:
    problem = error.problem or str(error)
    if "\\t" in problem or any(re.match(r"[^\S\n]*\t", text) for text in line):
        return "a tab stands where YAML allows only spaces", "Indent with spaces"
    if "refers to another value" in problem:
        return (
            f"{problem}, which a recipe does not use",
            "Write the value out, or put text that begins with `*` in quotes",
        )
    if "mapping values" in problem:
        return (
            "a `:` stands where no value can follow",
            "Check the indentation, and put text that holds `: ` in quotes",
        )
    if "block end" in problem:
        return "a line is indented unlike the lines around it", "Line up the keys that belong together"
    if "another document" in problem:
        return "a second YAML document begins", "Keep one recipe in a file"
    return (
        f"it is not YAML ({problem})",
        "Check the indentation, brackets and quotes of this line and the one before",
    )


def _value(node: yaml.Node, key: Key, lines: dict[Key, int], where: str) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, key, lines, where)
    if isinstance(node, yaml.SequenceNode) and node.tag == PREFIX + "seq":
        for index, item in enumerate(node.value):
            lines[(*key, index)] = item.start_mark.line + 1
        return [_value(item, (*key, index), lines, where) for index, item in enumerate(node.value)]
    return _scalar(node, key, where)


def _mapping(node: yaml.MappingNode, key: Key, lines: dict[Key, int], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name_node, value_node in node.value:
        place = f"{where}, line {name_node.start_mark.line + 1}"
        if not isinstance(name_node, yaml.ScalarNode):
            raise RecipeError("a key is not text", place, "Write keys as `name: value`")
        name = name_node.value
        if name in found:
            first = lines[(*key, name)]
            raise RecipeError(f"`{dotted((*key, name))}` is written twice (first on line {first})", place, "Keep one")
        lines[(*key, name)] = name_node.start_mark.line + 1
        found[name] = _value(value_node, (*key, name), lines, where)
    return found


def _scalar(node: yaml.Node, key: Key, where: str) -> Any:
    place = f"{where}, line {node.start_mark.line + 1}"
    kind = node.tag.removeprefix(PREFIX)
    try:
        if kind in CORE:
            return READ[kind](node.value)
    except ValueError:
        raise RecipeError(f"`{dotted(key)}` is not a number that can be read", place) from None
    if kind != "str":
        raise RecipeError(f"`{dotted(key)}` has the YAML tag `{node.tag}`", place, "Write a plain value")
    return node.value


READ: dict[str, Callable[[str], Any]] = {
    "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": int,
    "float": lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
}
