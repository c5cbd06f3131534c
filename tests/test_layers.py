"""The shape of the code: what may import what, how long things may be, and what starting up may load."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "luthier"
LAYERS = [
    "errors", "recipe", "store", "data", "models", "objectives", "engine", "search", "evaluate",
    "registry", "serve", "monitor", "feedback", "jobs", "api", "cli web",
]  # fmt: skip
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names.split()}
MAX_LINES, MAX_FUNCTION_LINES = 300, 60
VAGUE = {"utils", "util", "common", "helpers", "helper", "misc"}
HEAVY = {"torch", "transformers", "peft", "numpy", "pyarrow", "scipy", "sklearn", "sqlalchemy"}
TORCH = {"torch", "transformers", "peft"}
USES_TORCH = {"luthier.data.batch", "luthier.data.stream"}
RUN_BY_ALEMBIC = {"luthier.store.migrations.env"}


@cache
def sources() -> dict[str, Path]:
    """Module name -> file, of all of src/luthier."""
    return {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer(module: str) -> str:
    """`luthier.data.steps.x` -> `data`; the root itself is ''."""
    return module.split(".")[1] if "." in module else ""


@cache
def imports() -> dict[str, frozenset[str]]:
    """Module -> the modules of luthier that it imports, wherever in the file."""
    return {name: frozenset(imported(path, name)) - {name} for name, path in sources().items()}


def imported(path: Path, module: str) -> Iterator[str]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "luthier")
        elif isinstance(node, ast.ImportFrom):
            yield from targets(node, package)
        elif isinstance(node, ast.Constant) and module != "luthier":
            named = str(node.value)  # importlib.import_module("luthier.…"), python -m luthier.…
            yield from {named} & set(sources()) - {"luthier"}


def targets(node: ast.ImportFrom, package: str) -> Iterator[str]:
    base = node.module or ""
    if node.level:
        parents = package.split(".")
        base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [node.module])])
    if base.split(".")[0] == "luthier":
        for alias in node.names:
            whole = f"{base}.{alias.name}"
            yield whole if whole in sources() else base


def test_every_folder_has_a_place_in_the_order() -> None:
    assert {layer(module) for module in sources()} - {""} <= set(RANK)


def test_imports_go_to_the_left() -> None:
    wrong = [
        f"{module} may not import {other}"
        for module, others in imports().items()
        for other in sorted(others)
        if layer(module) and not may_import(layer(module), layer(other))
    ]
    assert not wrong, "\n".join(wrong)


def may_import(here: str, there: str) -> bool:
    return here == there or RANK.get(there, len(LAYERS)) < RANK[here]


def test_no_module_imports_itself_through_others() -> None:
    circles = {tuple(sorted(group)) for group in circles_of(imports()) if len(group) > 1}
    assert not circles, f"modules that import each other: {sorted(circles)}"


def circles_of(graph: dict[str, frozenset[str]]) -> list[set[str]]:
    """The strongly connected parts of the import graph, by reachability (the graph is small)."""
    reach = {name: reachable(graph, name) for name in graph}
    return [{other for other in reach[name] & graph.keys() if name in reach[other]} for name in graph]


def reachable(graph: dict[str, frozenset[str]], start: str) -> set[str]:
    seen, todo = set(), [start]
    while todo:
        for other in graph.get(todo.pop(), ()):
            if other not in seen:
                seen.add(other)
                todo.append(other)
    return seen


def test_sibling_folders_do_not_import_both_ways() -> None:
    folders = {(parent(a), parent(b)) for a, targets in imports().items() for b in targets if parent(a) != parent(b)}
    siblings = {(a, b) for a, b in folders if not a.startswith(f"{b}.") and not b.startswith(f"{a}.")}
    both = sorted((a, b) for a, b in siblings if (b, a) in siblings and a < b)
    assert not both, f"folders that import each other: {both}"


def parent(module: str) -> str:
    path = sources().get(module)
    return module if path is None or path.name == "__init__.py" else module.rpartition(".")[0]


def test_nothing_is_called_utils() -> None:
    vague = [str(path) for path in PACKAGE.rglob("*") if path.stem in VAGUE]
    assert not vague


def test_no_public_name_is_that_of_a_package() -> None:
    import luthier

    packages = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    assert not packages & set(luthier.__all__)


def test_nothing_is_too_long() -> None:
    programs = [path for folder in ("src", "tests", "bench") for path in sorted((ROOT / folder).rglob("*.py"))]
    long = [place for path in programs for place in too_long(path)]
    assert not long, "\n".join(long)


def too_long(path: Path) -> Iterator[str]:
    text, name = path.read_text(), path.relative_to(ROOT)
    if len(text.splitlines()) > MAX_LINES:
        yield f"{name} has more than {MAX_LINES} lines"
    for node in ast.walk(ast.parse(text)):
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if is_function and (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES:
            yield f"{name}:{node.lineno} {node.name} has more than {MAX_FUNCTION_LINES} lines"


def loaded_by(code: str) -> set[str]:
    """The top-level packages in memory after a fresh Python has run `code`."""
    report = "import json, sys; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    program = f"{code}\n{report}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_loads_next_to_nothing() -> None:
    loaded = loaded_by("from luthier.cli import main\nassert main(['--help']) == 0")
    assert not loaded & (HEAVY | {"pydantic", "yaml", "rich", "fsspec"})


@pytest.mark.parametrize("module", ["luthier", "luthier.errors"])
def test_the_root_loads_next_to_nothing(module: str) -> None:
    assert not loaded_by(f"import {module}") & (HEAVY | {"pydantic", "yaml", "rich", "fsspec"})


def test_recipe_loads_nothing_heavier_than_pydantic() -> None:
    modules = [name for name in sources() if layer(name) == "recipe"]
    assert not loaded_by("\n".join(f"import {name}" for name in modules)) & HEAVY


def test_light_packages_load_no_torch() -> None:
    light = {name for name in sources() if layer(name) in {"recipe", "store", "data", "cli"}}
    imported = sorted(light - USES_TORCH - RUN_BY_ALEMBIC)
    assert not loaded_by("\n".join(f"import {name}" for name in imported)) & TORCH


def test_the_process_that_starts_a_run_loads_no_torch() -> None:
    assert not loaded_by("import luthier.jobs.run, luthier.jobs.train") & TORCH


def test_an_adapter_is_made_without_bitsandbytes() -> None:
    made = "get_peft_model(torch.nn.Sequential(torch.nn.Linear(2, 2)), LoraConfig(target_modules=['0']))"
    program = (
        f"import torch, luthier.jobs.work\nfrom luthier.models.peft_parts import LoraConfig, get_peft_model\n{made}"
    )
    assert "bitsandbytes" not in loaded_by(program)
