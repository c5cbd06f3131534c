"""What a person waits for: `--help`, `check`, and the first training step."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

from harness.case import Case, Inputs, Side, Task
from harness.cases.recipe import home, model, write_recipe
from harness.cases.sft import ENTRY, LENGTH, LORA, MODEL, POOL, RECIPE, dolly
from harness.count import Amount
from harness.rows import stratified

ONCE = Amount(0, 0, 0, 0.0)


def prepare(inputs: Inputs, rows: int) -> Callable[[Side], Task]:
    """A recipe and its data as files, with models at hand and nothing rendered."""
    files, _ = model(MODEL, inputs.cache)
    chosen = stratified(dolly(inputs.data, files.folder), POOL)[:rows]
    recipe = write_recipe(inputs, "start", RECIPE | {"adapter": LORA}, chosen, ENTRY)
    chats = inputs.scratch / "chats.jsonl"
    chats.write_text("".join(json.dumps(chat(row.raw)) + "\n" for row in chosen), encoding="utf-8")
    job = {"model": str(files.folder), "scratch": str(inputs.scratch), "threads": inputs.threads, "length": LENGTH,
           "recipe": recipe, "chats": str(chats), "home": str(home(inputs)), "adapter": LORA}  # fmt: skip
    return lambda side: Task(job, ONCE)


def chat(raw: dict[str, str]) -> dict[str, list[dict[str, str]]]:
    """A row of dolly as TRL's users write it."""
    question = "\n\n".join(part for part in (raw["instruction"], raw["context"]) if part)
    return {"prompt": [{"role": "user", "content": question}],
            "completion": [{"role": "assistant", "content": raw["response"]}]}  # fmt: skip


def ours(verb: str) -> Side:
    """A verb of Luthier's command line."""
    return Side(f"luthier {verb}", "start_luthier.py", 0, {"verb": verb}, "luthier")


CASES = (
    Case("start-help", "Start: --help", "start",
         (ours("--help"), Side("trl --help", "start_peer.py", 0, {"what": "help"})), partial(prepare, rows=4)),
    Case("start-check", "Start: a forecast of 128 rows", "start", (ours("check"),), partial(prepare, rows=POOL),
         remark="A recipe is read, its rows are rendered, and the run is forecast; no peer does this."),
    Case("start-step", "Start: the beginning of the first optimizer step, 128 rows", "start",
         (ours("train"), Side("TRL, its defaults", "start_peer.py", 0, {"what": "step"})), partial(prepare, rows=POOL),
         remark="From the command to the moment at which the first step begins; nothing is rendered before."),
)  # fmt: skip
