"""Small jobs on the tiny models: recipes in a folder, made ready and opened in this process."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from luthier.jobs.prepare import Ready, data_part, get_ready
from luthier.jobs.reporting import Stages
from luthier.jobs.run import outputs, task_of
from luthier.jobs.workbench import Work
from luthier.jobs.workspace import RunPlan
from luthier.store import Home, runs

WORDS = {"wood": "the spruce top and the maple back", "money": "what does a bridge cost in euros"}
CLASSES = [{"text": f"{text} number {i}", "label": label} for i in range(20) for label, text in WORDS.items()]
SEVERAL = [{"text": row["text"], "label": [row["label"], "odd"][: 1 + i % 2]} for i, row in enumerate(CLASSES)]
CHATS = [{"prompt": f"what does bridge {i} cost?", "completion": f"{i % 3} euros"} for i in range(40)]
TEXTS = [{"text": f"the maker of lute number {i} bends the ribs over iron {i * i}"} for i in range(40)]
PAIRS = [
    {"prompt": f"what does bridge {i} cost?", "chosen": f"{i % 3} euros", "rejected": f"ask luthier {i * i} about it"}
    for i in range(40)
]
DRY = {"threads": 1, "memory": "4GB"}


class Events:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, dict[str, Any]]] = []

    def event(self, kind: str, message: str, data: dict[str, Any] | None = None) -> None:
        self.told.append((kind, message, data or {}))

    def of(self, kind: str) -> list[str]:
        """The messages of one kind."""
        return [message for found, message, _ in self.told if found == kind]


def recipe(folder: Path, model: Path, rows: list[dict[str, Any]], **sections: Any) -> Path:
    """A recipe for `rows`, written with them into `folder`; sections are added to those of a small run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain = {"base_model": str(model), "data": "rows.jsonl", "machine": DRY, **sections}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(plain))
    return folder / "recipe.yaml"


def classes(folder: Path, model: Path, rows: list[dict[str, Any]] = CLASSES, **sections: Any) -> Path:
    return recipe(folder, model, rows, **{"adapter": "head", "objective": "classify", **sections})


def ready_of(path: Path, home: Home, *overrides: str) -> Ready:
    return get_ready(path, overrides, home, lambda text: None)


def work_of(ready: Ready, home: Home, events: Events | None = None) -> Work:
    """The run that `ready` could start, as the working process opens it."""
    settings = ready.recipe
    row = runs.create(home, name=str(settings.name), recipe=settings.to_plain(), recipe_sha256="0" * 64, command="")
    plan = RunPlan(
        run_id=row.id, recipe=settings.to_plain(), source=ready.source.to_plain(), reasons=[],
        dataset_version="ds-test", identity="0" * 64, labels=outputs(ready),
        multi_label=ready.data.multi_label, task=task_of(settings),
        data=data_part(ready, "ds-test"), forecast=asdict(ready.forecast), environment={}, command="",
        privacy=asdict(ready.privacy) if ready.privacy else None,
    )  # fmt: skip
    kept = {name: [ready.data.splits[name][i] for i in part.examples] for name, part in ready.rendered.items()}
    folder = runs.run_folder(home, row.id)
    return Work(home, plan, settings, folder, ready.files, kept, ready.rendered, Stages(events or Events()))
