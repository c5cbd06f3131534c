"""A first recipe for a data file."""

from __future__ import annotations

from luthier.errors import RecipeError
from luthier.recipe.document import scalar
from luthier.recipe.facts import Glimpse
from luthier.recipe.methods import METHODS

DECODER = "smollm2-135m-instruct"
ENCODER = "all-minilm-l6-v2"
START = {
    "generate": (DECODER, "lora", "sft", "each answer is learnt from its prompt"),
    "classify": (ENCODER, "head", "classify", "the label of each row is learnt; there are {labels}"),
    "text": (DECODER, "lora", "pretrain", "every token of the text is learnt"),
    "preference": (DECODER, "lora", "dpo", "chosen answers become likelier than rejected ones; `reward` scores them"),
}
"""Task -> base model, adapter, objective, what is learnt."""


def propose(glimpse: Glimpse, data_path: str, base_model: str | None = None) -> str:
    """A short commented recipe, as YAML text that `load` reads, for the data at `data_path`.

    A given `base_model` is tuned with LoRA; without one, a packaged model that suits the task is proposed.
    Raises RecipeError for answers with a verdict, which no objective learns from.
    """
    if glimpse.task == "verdict":
        raise RecipeError(
            f"rows of type {glimpse.type} judge single answers, and no objective learns from that",
            data_path,
            "Give rows with the answer that is to be learnt, or with pairs of them",
        )
    base, adapter, objective, learnt = START[glimpse.task]
    chosen = "lora" if base_model else adapter
    lines = [
        "# `luthier check` shows what each `auto` becomes and why; `luthier run` fits and judges.",
        f"base_model: {scalar(base_model or base)}",
        *_data(glimpse, data_path),
        f"adapter: {chosen}  # or {_others(chosen, objective)}",
        f"objective: {objective}  # {learnt.format(labels=glimpse.labels)}",
        "train:",
        "  learning_rate: auto",
        "  num_epochs: auto",
        "  seed: 0",
        "ship:",
        "  require: better  # than the best baseline, by more than chance",
        "  alias: production",
    ]
    return "\n".join(lines) + "\n"


def _data(glimpse: Glimpse, data_path: str) -> list[str]:
    rows = f"  # {glimpse.rows:,} rows"
    if not glimpse.columns:
        return [f"data: {scalar(data_path)}{rows}, read as {glimpse.type}"]
    columns = [f"    {key}: {scalar(column)}" for key, column in glimpse.columns.items()]
    return ["data:", f"  - path: {scalar(data_path)}{rows}", f"    type: {glimpse.type}", *columns]


def _others(adapter: str, objective: str) -> str:
    options = {
        "lora": "lora (low-rank matrices)",
        "full": "full (every weight)",
        "head": "head (a classifier on a frozen model)",
    }
    fitting = [words for name, words in options.items() if name != adapter and (name, objective) in METHODS]
    return ", ".join(fitting)
