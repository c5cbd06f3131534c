"""The model card: the facts of a run document as markdown, with the front matter that the hub reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Any

import yaml

from luthier.evaluate.report.numbers import duration, setting
from luthier.registry.front_matter import data_licences, front_matter
from luthier.registry.numbers import change, interval, level, plain, with_interval

Document = dict[str, Any]
SOLVERS = {
    "base": "base model",
    "few_shot": "few-shot prompting",
    "classic": "classic model",
    "majority": "most frequent answer",
    "in_service": "version that was in service",
    "tuned": "**this model**",
}


def write_card(document: Document) -> str:
    """The card of a run. It states what was measured; what the document lacks, the card leaves out."""
    sections = [
        _head(document),
        _verdict(document),
        _scores(document),
        _differences(document),
        _beside(document),
        _forgetting(document),
        _data(document),
        _merge(document),
        _licences(document),
        _reproduce(document),
        _recipe(document),
        _lineage(document),
    ]
    head = yaml.safe_dump(front_matter(document), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n" + "\n\n".join(text for text in sections if text) + "\n"


def _head(document: Document) -> str:
    base = _part(document, "lineage").get("base_model") or _part(document, "recipe").get("base_model")
    objective = _part(document, "recipe", "objective").get("type")
    adapter = _part(document, "recipe", "adapter").get("type")
    how = ", ".join(f"{key} `{value}`" for key, value in (("objective", objective), ("adapter", adapter)) if value)
    rows = _part(document, "data", "splits").get("train")
    tuned = f"`{base}`, tuned by Luthier" + (f" on {plain(rows)} rows" if rows else "") + (f" ({how})" if how else "")
    return f"# {document.get('model') or document.get('name')}\n\n{tuned}."


def _verdict(document: Document) -> str:
    reasons = document.get("reasons") or []
    if not document.get("verdict"):
        return ""
    return f"## Verdict: {document['verdict']}\n\n" + _bullets(reasons)


def _scores(document: Document) -> str:
    solvers = _part(document, "solvers") or {
        name: _part(document, name) for name in ("base", "tuned") if _part(document, name)
    }
    metrics = list(dict.fromkeys(metric for found in solvers.values() for metric in found))
    if not metrics:
        return ""
    rows = [
        [
            SOLVERS.get(name, name),
            *(with_interval(found.get(metric), metric) for metric in metrics),
            _n(found),
        ]
        for name, found in solvers.items()
    ]
    skipped = [f"No {SOLVERS.get(name, name)}: {why}." for name, why in _part(document, "skipped_baselines").items()]
    note = f"On the test split; in brackets the {_level(document)}."
    return _section("Scores", note, _table(["", *metrics, "n"], rows), " ".join(skipped))


def _differences(document: Document) -> str:
    rows = [
        [
            SOLVERS.get(name, name),
            metric,
            change(delta.get("value"), metric),
            interval(delta, metric),
            _p(delta.get("p")),
        ]
        for name, found in _part(document, "deltas").items()
        for metric, delta in found.items()
    ]
    if not rows:
        return ""
    note = "This model minus each alternative, paired on the same test rows; above 0, this model is better."
    return _section("Differences", note, _table(["against", "metric", "difference", _level(document), "p"], rows))


def _beside(document: Document) -> str:
    """The sections of scores and differences of the second objective, under names of their own."""
    own = _part(document, "beside")
    parts = [_scores(document | own), _differences(document | own)] if own else []
    titles = ("## Scores", "## Differences")
    return "\n\n".join(
        text.replace(title, f"{title} of what is learnt beside (`{own.get('objective')}`)", 1)
        for title, text in zip(titles, parts, strict=False)
        if text
    )


def _forgetting(document: Document) -> str:
    checks = _part(document, "forgetting")
    if not checks:
        return ""
    names = {"questions": "general questions answered", "text_nll": "general text, nats per token"}
    rows = [
        [
            names.get(name, name),
            with_interval({"value": check.get("base")}, name),
            with_interval({"value": check.get("tuned")}, name),
            change(check.get("delta"), name),
            interval(check, name),
            plain(check.get("n")),
        ]
        for name, check in checks.items()
    ]
    return _section(
        "What tuning changed elsewhere", _table(["", "base", "tuned", "change", _level(document), "n"], rows)
    )


def _data(document: Document) -> str:
    data = _part(document, "data")
    if not data:
        return ""
    splits = ", ".join(f"{plain(rows)} {name}" for name, rows in data.get("splits", {}).items())
    sources = [
        [
            f"`{_short(source.get('path', ''))}`",
            source.get("type"),
            plain(source.get("rows")),
            source.get("licence") or "not stated",
        ]
        for source in data.get("sources", [])
    ]
    table = _table(["source", "type", "rows", "licence"], sources) if sources else ""
    dropped = [
        f"{step['name']}: {plain(count)} rows dropped, {reason}"
        for step in data.get("steps", [])
        for reason, count in step.get("dropped", {}).items()
    ]
    first = f"Dataset version `{data.get('version')}`: {splits} rows." if splits else ""
    return _section("Data", first, table, _bullets([*dropped, *data.get("notes", [])]))


def _merge(document: Document) -> str:
    lineage = _part(document, "lineage")
    if lineage.get("not_merged"):
        return _section("Merge", f"The adapter cannot be merged into its base: {lineage['not_merged']}.")
    difference = lineage.get("merge_logit_difference")
    if difference is None:
        return ""
    text = f"Merging the adapter into the base weights changes logits by at most {difference:.2g}."
    return _section("Merge", text)


def _licences(document: Document) -> str:
    base = _part(document, "lineage").get("base_licence") or "not stated"
    sources = _part(document, "data").get("sources", [])
    silent = [_short(source.get("path", "")) for source in sources if not source.get("licence")]
    stated = [f"data: {', '.join(data_licences(document))}"] if data_licences(document) else []
    unstated = [f"data without a stated licence: {', '.join(silent)}"] if silent else []
    return _section("Licences", _bullets([f"base model: {base}", *stated, *unstated]))


def _reproduce(document: Document) -> str:
    command = document.get("command")
    if not command:
        return ""
    environment = _part(document, "environment")
    versions = ", ".join(
        f"{name} {environment[name]}"
        for name in ("luthier", "python", "torch", "transformers", "peft")
        if environment.get(name)
    )
    cost = _part(document, "actual")
    spent = (
        f"The fit took {duration(cost['seconds'])} on {environment.get('cpu', 'one machine')}."
        if cost.get("seconds")
        else ""
    )
    return _section(
        "Reproduce",
        f"```bash\n{command}\n```",
        " ".join(filter(None, [f"With {versions}." if versions else "", spent])),
    )


def _recipe(document: Document) -> str:
    recipe = document.get("recipe")
    if not recipe:
        return ""
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True).rstrip()
    resolved = [f"`{item['key']}`: {setting(item['value'])} ({item['why']})" for item in document.get("resolved", [])]
    return _section("Recipe", f"```yaml\n{text}\n```", _bullets(resolved))


def _lineage(document: Document) -> str:
    lineage = _part(document, "lineage")
    pairs = [("run", document.get("run_id")), ("recipe sha256", document.get("recipe_sha256"))]
    pairs += [(key.replace("_", " "), lineage.get(key)) for key in ("base_sha256", "dataset_version", "adapter_sha256")]
    return _section("Lineage", _bullets(f"{key}: `{value}`" for key, value in pairs if value))


def _section(title: str, *parts: str) -> str:
    body = "\n\n".join(part for part in parts if part)
    return f"## {title}\n\n{body}" if body else ""


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    return "\n".join(_lines([heads, ["---"] * len(heads), *rows]))


def _lines(rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    for row in rows:
        yield "| " + " | ".join(re.sub(r"\s+", " ", str(cell)).replace("|", "\\|") for cell in row) + " |"


def _part(document: Document, *keys: str) -> dict[str, Any]:
    found: Any = document
    for key in keys:
        found = (found or {}).get(key)
    return found or {}


def _short(path: str) -> str:
    """An absolute path says more about the machine than about the data."""
    return PurePath(path).name if PurePath(path).is_absolute() else path


def _n(found: dict[str, Any]) -> str:
    return plain(next((entry.get("n") for entry in found.values()), None))


def _p(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _level(document: Document) -> str:
    return f"{level(document.get('confidence', 0.95))} interval"
