"""From feedback to a dataset version: gathered rows go through the steps that all data goes through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from luthier.data import version
from luthier.data.example import Example
from luthier.data.pipeline import apply, steps_of
from luthier.data.prepared import Prepared, StepCount, Task
from luthier.data.steps.deduplicate import says
from luthier.data.steps.leakage import asked, leakage
from luthier.data.steps.personal import cleaned
from luthier.data.steps.reject import Reject
from luthier.feedback.gather import gather
from luthier.feedback.said import SOURCE, Gathered, Said
from luthier.recipe import Recipe
from luthier.store import Home, feedback

SEVERAL = "several labels, and the rows of the model have one"
PURGED = "rows of an earlier version whose traces were purged"


@dataclass(frozen=True)
class Wishes:
    """What may become a row: answers that are rated high; only what a person has accepted. `personal`: as
    `curate.personal`, None for what the model's own rows passed."""

    accept_rated: bool = False
    reviewed: bool = False
    personal: Literal["keep", "redact", "drop"] | None = None


@dataclass(frozen=True)
class Curated:
    """A dataset version made of feedback, None where no row was left, and what became of everything."""

    dataset: str | None
    rows: int
    gathered: Gathered
    prepared: Prepared
    parents: list[str]


def curate(
    home: Home, said: Sequence[Said], task: Task, *, held: str | None, earlier: str | None, wishes: Wishes
) -> Curated:
    """Store the rows that `said` comes to for `task`.

    `held` is the dataset version of the model: what its test and validation rows ask is not learnt, and what its train
    rows say is not said twice. `earlier` is a version that was made so before: its rows are kept where their traces
    were purged and their feedback still stands.
    """
    traces = feedback.answers(home, (one["trace_id"] for each in said for one in _compared(each) if "trace_id" in one))
    gathered = gather(said, task, traces, accept_rated=wishes.accept_rated, reviewed=wishes.reviewed)
    kept = _outliving(home, earlier)
    own = version.get(home, held) if held else None
    splits = {name: version.read(home, held, name) for name in ("train", "validation", "test")} if held else {}
    settings = dict(own.manifest["curate"]) if own else {}
    settings |= {"personal": wishes.personal} if wishes.personal else {}
    recipe = Recipe.model_validate({"base_model": "feedback", "data": "feedback", "curate": settings})
    train = _own_rows(splits.get("train", [])) if own and own.manifest["task"] == task else []
    rejects: list[Reject] = []
    rows = {"train": [*gathered.rows, *kept]}
    steps = [_counted(said, gathered)]
    if own and task == "classify":
        steps.append(apply("labels", lambda found: _as_many(found, own.manifest["multi_label"]), rows, rejects))
    for name, step in steps_of(recipe).items():
        steps.append(apply(name, step, rows, rejects))
    steps.append(apply("known", lambda found: _unknown(found, train), rows, rejects))
    steps.append(apply("leakage", lambda found: _unasked(found, splits), rows, rejects))
    notes = [f"{len(kept)} {PURGED}"] if kept else []
    notes += _otherwise(rows["train"], train) + _looks_personal(rows["train"])
    labels = {label for row in rows["train"] for label in (row.labels or [row.label]) if label is not None}
    several = any(row.labels is not None for row in rows["train"])
    prepared = Prepared({"train": rows["train"], "validation": [], "test": []}, rejects, [], steps, notes, task,
                        tuple(sorted(labels)), several)  # fmt: skip
    parents = list(dict.fromkeys(one for one in (held, earlier) if one))
    stored = version.write(home, prepared, recipe, parents).id if rows["train"] else None
    return Curated(stored, len(rows["train"]), gathered, prepared, parents)


def _own_rows(train: Sequence[Example]) -> list[Example]:
    """Train rows that were not made of feedback: what an earlier version learnt of it is to be learnt again."""
    return [row for row in train if row.source != SOURCE]


def _compared(said: Said) -> list[dict[str, Any]]:
    """The answers between which was chosen."""
    return [said.row.value["chosen"], *said.row.value["rejected"]] if said.row.kind == "choice" else []


def _counted(said: Sequence[Said], gathered: Gathered) -> StepCount:
    """Feedback in, feedback that rows rest on, and the reasons of the rest."""
    reasons = Counter(left.reason for left in gathered.left)
    return StepCount("feedback", len(said), len(said) - len(gathered.left), dict(reasons))


def _outliving(home: Home, earlier: str | None) -> list[Example]:
    """The rows of an earlier version that nobody took back, and that cannot be made again."""
    rows = version.read(home, earlier, "train") if earlier else []
    there = feedback.answers(home, (trace for row in rows for trace in row.extra["traces"]))
    standing = feedback.standing(home, (one["feedback"] for row in rows for one in row.ratings))
    return [
        row
        for row in rows
        if not any(trace in there for trace in row.extra["traces"])
        and all(one["feedback"] in standing for one in row.ratings)
    ]


def _as_many(rows: Sequence[Example], several: bool) -> tuple[list[Example], list[Reject]]:
    """Rows with one label, or with a list, as the rows of the model have them."""
    if several:
        return [replace(row, label=None, labels=row.labels or (str(row.label),)) for row in rows], []
    fits = [row.labels is None or len(row.labels) == 1 for row in rows]
    rejects = [Reject(row, "labels", SEVERAL, SEVERAL) for row, one in zip(rows, fits, strict=True) if not one]
    return [
        row if row.labels is None else replace(row, label=row.labels[0], labels=None)
        for row, one in zip(rows, fits, strict=True)
        if one
    ], rejects


def _unknown(rows: Sequence[Example], train: Sequence[Example]) -> tuple[list[Example], list[Reject]]:
    known = {says(row): row.row_id for row in train}
    rejects = [
        Reject(row, "known", f"the same as {known[says(row)]}", "the same as a train row of the model")
        for row in rows
        if says(row) in known
    ]
    return [row for row in rows if says(row) not in known], rejects


def _unasked(rows: Sequence[Example], splits: dict[str, list[Example]]) -> tuple[list[Example], list[Reject]]:
    held = {name: splits.get(name, []) for name in ("test", "validation")}
    clean, rejects = leakage({"train": rows, **held}, "drop")
    own = {row.row_id for row in rows}
    return clean["train"], [reject for reject in rejects if reject.example.row_id in own]


def _looks_personal(rows: Sequence[Example]) -> list[str]:
    found = sum(cleaned(row) is not row for row in rows)
    mend = "`curate.personal: redact`, or `--personal redact`, replaces it"
    return [f"{found} rows hold what looks personal or secret; {mend}"] if found else []


def _otherwise(rows: Sequence[Example], train: Sequence[Example]) -> list[str]:
    """A note where people say something else than the rows that the model has learnt."""
    known = {asked(row) for row in train}
    other = sum(asked(row) in known for row in rows)
    return [f"{other} rows ask what train rows of the model ask, and answer it otherwise"] if other else []
