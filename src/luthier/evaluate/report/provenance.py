"""Where the model came from and how to make it again: settings, lineage, environment, command, recipe."""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from luthier.evaluate.report.numbers import count, fixed, setting, significant, size
from luthier.evaluate.report.reading import Document, absent, entries, finite, part, records


def settings(document: Document) -> dict[str, Any]:
    """Every recipe value that was `auto`, what it became, and why."""
    rows = [
        {
            "key": str(entry.get("key")),
            "value": setting(entry.get("value")),
            "why": str(entry.get("why") or "no reason recorded"),
        }
        for entry in records(document, "resolved")
    ]
    return {
        "rows": rows,
        "absent": absent(document, "resolved", "the run document names no resolved settings"),
    }


def lineage(document: Document) -> dict[str, Any]:
    """The chain base, dataset, run, adapter, version; each with its name and its hash."""
    line = part(document, "lineage")
    chain = [
        (
            "Base model",
            line.get("base_model") or part(document, "recipe").get("base_model"),
            line.get("base_sha256"),
        ),
        ("Dataset version", line.get("dataset_version") or document.get("dataset_version"), None),
        ("Run", document.get("run_id"), document.get("recipe_sha256")),
        ("Adapter", document.get("adapter_path"), line.get("adapter_sha256")),
        ("Model version", document.get("model"), None),
    ]
    hashed = {"Base model": "weights", "Run": "recipe", "Adapter": "adapter"}
    links = [
        {
            "what": what,
            "name": str(name or ""),
            "sha256": str(digest or ""),
            "of": hashed.get(what, ""),
            "why": absent(document, what.lower().replace(" ", "_"), "the run document does not name it"),
        }
        for what, name, digest in chain
    ]
    difference = finite(line.get("merge_logit_difference"))
    why = line.get("not_merged") or "the adapter was not merged in this run"
    merged = absent(document, "merge_logit_difference", why)
    if difference is not None:
        merged = f"Merging the adapter into the base changes a logit by at most {significant(difference)}."
    return {"links": links, "merged": merged}


def environment(document: Document) -> dict[str, Any]:
    found = part(document, "environment")
    shown = {name: _environment_value(name, value) for name, value in found.items() if value is not None}
    named = {"memory_bytes": "memory", "gemm_gflops": "fp32 matrix product"}
    rows = [(named.get(name, name.replace("_", " ")), value) for name, value in shown.items()]
    return {"rows": rows, "absent": absent(document, "environment", "the run document holds no environment")}


def reproduction(document: Document) -> dict[str, Any]:
    recipe = part(document, "recipe")
    command = document.get("command")
    return {
        "command": shlex.join(command) if isinstance(command, list) else str(command or ""),
        "recipe": _yaml(recipe) if recipe else "",
        "sha256": str(document.get("recipe_sha256") or ""),
        "no_command": absent(document, "command", "the run document holds no command"),
        "no_recipe": absent(document, "recipe", "the run document holds no recipe"),
    }


def warnings(document: Document) -> list[str]:
    return [str(warning) for warning in entries(document, "warnings")]


def _environment_value(name: str, value: Any) -> str:
    if name == "memory_bytes":
        return size(value)
    if name == "gemm_gflops":
        return f"{fixed(value, 1)} GFLOP/s"
    return count(value) if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _yaml(recipe: dict[str, Any]) -> str:
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return yaml.dump(recipe, Dumper=dumper, sort_keys=False, allow_unicode=True, width=100)
