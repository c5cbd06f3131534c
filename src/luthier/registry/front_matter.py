"""The YAML head of a model card, with the keys of huggingface.co/docs/hub/model-cards."""

from __future__ import annotations

from typing import Any

TASKS = {"generate": "text-generation", "classify": "text-classification", "text": "text-generation",
         "reward": "text-classification"}  # fmt: skip
WHOLE = {"full": "transformers", "head": "transformers"}
"""Adapter types that are no adapters on a base, and the library that reads what they leave."""


def front_matter(document: dict[str, Any]) -> dict[str, Any]:
    """Only what the run knows: a licence or a data set that is not stated gets no key."""
    recipe = document.get("recipe") or {}
    lineage = document.get("lineage") or {}
    adapter = (recipe.get("adapter") or {}).get("type", "lora")
    base = lineage.get("base_model") or recipe.get("base_model")
    head = {
        "base_model": base,
        "base_model_relation": "finetune" if adapter in WHOLE else "adapter",
        "library_name": {**WHOLE, "bottleneck": "luthier"}.get(adapter, "peft"),
        "pipeline_tag": TASKS.get(str(document.get("task"))),
        "license": (lineage.get("base_licence") or "").lower() or None,
        "datasets": _hub_datasets(document),
        "tags": ["luthier", *([adapter] if adapter not in WHOLE else [])],
        "model-index": _results(document),
    }
    return {key: value for key, value in head.items() if value}


def data_licences(document: dict[str, Any]) -> list[str]:
    """The licences that the sources of the data state, each once."""
    sources = (document.get("data") or {}).get("sources", [])
    return list(dict.fromkeys(source["licence"] for source in sources if source.get("licence")))


def _hub_datasets(document: dict[str, Any]) -> list[str]:
    entries = (document.get("recipe") or {}).get("data") or []
    paths = [entry["path"] for entry in entries]
    return list(dict.fromkeys(path.removeprefix("hub:") for path in paths if path.startswith("hub:")))


def _results(document: dict[str, Any]) -> list[dict[str, Any]]:
    metrics = [
        {"type": metric, "value": estimate["value"], "name": f"{metric}, n = {estimate.get('n', 'unknown')}"}
        for metric, estimate in (document.get("tuned") or {}).items()
        if estimate.get("value") is not None
    ]
    if not metrics:
        return []
    version = str(document.get("dataset_version"))
    result = {
        "task": {"type": TASKS.get(str(document.get("task")), "text-generation")},
        "dataset": {"name": f"test split of {version}", "type": version},
        "metrics": metrics,
    }
    return [{"name": str(document.get("model") or document.get("name")), "results": [result]}]
