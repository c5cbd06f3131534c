"""From a recipe to splits of examples: read, drop what cannot be used, cut what is missing, check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from luthier.data.checks import check
from luthier.data.example import Example
from luthier.data.naming import prefixes
from luthier.data.prepared import Prepared, StepCount, Task
from luthier.data.sources import Source
from luthier.data.sources.source import locate, read_at
from luthier.data.steps.deduplicate import deduplicate
from luthier.data.steps.leakage import leakage
from luthier.data.steps.length import length
from luthier.data.steps.personal import personal
from luthier.data.steps.reject import Reject
from luthier.data.steps.split import split
from luthier.data.steps.usable import usable
from luthier.data.stored import is_stored, read_stored
from luthier.errors import DataError
from luthier.recipe import BESIDE
from luthier.recipe.types import Recipe
from luthier.store import Home

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many parts are done, and how many there are."""

SPLITS = ("train", "validation", "test")
ADDED = ("earlier", *BESIDE.values())
"""Splits that are there only where an entry names them: data that was learnt before, and that of a second objective."""
TASKS: dict[str, Task] = {
    "chat": "generate",
    "sharegpt": "generate",
    "alpaca": "generate",
    "prompt_completion": "generate",
    "text": "text",
    "preference": "preference",
    "kto": "verdict",
    "classification": "classify",
}


class Need(NamedTuple):
    """The rows that an objective learns from, in words, and what to do where there are others."""

    task: Task
    words: str
    mend: str


LABELS = "Set `type: classification`, `field_text` and `field_label` on the entry, or `objective: sft`"
PAIRS = Need("preference", "rows with a chosen and a rejected answer", "For rows with one answer, `objective: sft`")
TEXTS = Need("text", "plain text", "For rows with labels, `objective.beside_type: classify`; or `type: text`")
NEEDS = {"classify": Need("classify", "rows with labels", LABELS), "dpo": PAIRS, "reward": PAIRS}
INSTEAD: dict[Task, str] = {
    "preference": "Write `objective: dpo` or `reward`",
    "verdict": "Give rows with the answer that is to be learnt, or with pairs of them",
}
"""What to do with rows that only some objectives, or none, learn from."""
Splits = dict[str, list[Example]]
Step = Callable[[Sequence[Example]], tuple[list[Example], list[Reject]]]


def prepare(recipe: Recipe, base: Path, progress: Progress | None = None, home: Home | None = None) -> Prepared:
    """Read all entries of `recipe.data` (paths relative to `base`; dataset versions from `home`, else from that of the
    environment) and bring them to splits.

    In each split unusable rows, too short or long ones and duplicates are dropped; then rows that leak from
    one split into another; then missing splits are cut from train, into which only added rows can leak. Raises
    `DataError` for faulty files and rows, for entries that do not go together, and where nothing is left to train
    or test on.
    """
    tell = progress or _silent
    sources = _read(recipe, base, tell, home)
    task = _task(sources, recipe)
    splits: Splits = {name: _rows(sources, name) for name in SPLITS}
    splits |= {name: rows for name in ADDED if (rows := _rows(sources, name))}
    given = tuple(name for name, rows in splits.items() if rows)
    notes = [note for source in sources for note in source.notes]
    rejects: list[Reject] = []
    steps: list[StepCount] = []
    work = steps_of(recipe)
    for name, step in work.items():
        tell(name, len(steps), len(work))
        steps.append(apply(name, step, splits, rejects))
    rows_in = sum(map(len, splits.values()))
    splits, leaking = leakage(splits, recipe.curate.leakage)
    steps.append(StepCount.of("leakage", rows_in, leaking))
    _refuse_empty(splits, given, steps)
    notes += _cut(splits, recipe)
    if recipe.objective.beside_type == "classify":
        notes += _cut_beside(splits, recipe)
    splits, late = leakage(splits, recipe.curate.leakage)  # added rows that ask what was cut from train
    leaking += late
    steps[-1] = StepCount.of("leakage", rows_in, leaking)
    labels, multi_label, found = check(splits, task)
    if recipe.objective.beside_type == "classify":
        labels, multi_label, more = check(_of_second(splits), "classify")
        found += [f"beside: {note}" for note in more]
    return Prepared(splits, rejects + leaking, sources, steps, notes + found, task, labels, multi_label)


def _of_second(splits: Splits) -> Splits:
    """The splits of the second objective, called as those of the first."""
    return {name: splits.get(own, []) for name, own in BESIDE.items()}


def _cut_beside(splits: Splits, recipe: Recipe) -> list[str]:
    """As `_cut`, of the second objective."""
    own = _of_second(splits)
    notes = _cut(own, recipe, "beside_")
    splits.update({name: own[split_name] for split_name, name in BESIDE.items()})
    return notes


def _read(recipe: Recipe, base: Path, tell: Progress, home: Home | None) -> list[Source]:
    files = [entry for entry in recipe.data if not is_stored(entry)]
    paths = [locate(entry, base) for entry in files]
    located = iter(zip(paths, prefixes(paths), strict=True))
    sources = []
    for index, entry in enumerate(recipe.data):
        if is_stored(entry):
            tell(f"reading {entry.path}", index, len(recipe.data))
            sources.append(read_stored(entry, home or Home.open()))
        else:
            path, prefix = next(located)
            tell(f"reading {path.name}", index, len(recipe.data))
            sources.append(read_at(path, entry, prefix))
    return sources


def _task(sources: Sequence[Source], recipe: Recipe) -> Task:
    """The one task of all sources. Raises `DataError` where they differ, or the objective needs another."""
    of_task = [source for source in sources if source.split not in BESIDE.values()]
    first = of_task[0]
    task = TASKS[first.detected]
    other = next((source for source in of_task if TASKS[source.detected] != task), None)
    if other is not None:
        what = f"its rows are of type {other.detected}, and those of {first.path} of type {first.detected}"
        raise DataError(what, str(other.path), "Train on them in separate runs, or set `type` if one is read wrongly")
    objective = recipe.objective.type
    if objective in NEEDS:
        _refuse_others(first, NEEDS[objective], objective)
    for source in sources:
        if source.split in BESIDE.values():
            kind = recipe.objective.beside_type
            _refuse_others(source, NEEDS.get(kind, TEXTS), f"{kind} beside")
    if objective not in NEEDS and task in INSTEAD:
        what = f"its rows are of type {first.detected}, which `{objective}` does not learn from"
        raise DataError(what, str(first.path), INSTEAD[task])
    return task


def _refuse_others(source: Source, need: Need, objective: str) -> None:
    if TASKS[source.detected] != need.task:
        what = f"`{objective}` needs {need.words}, and these are of type {source.detected} ({source.why})"
        raise DataError(what, str(source.path), need.mend)


def _rows(sources: Sequence[Source], split_name: str) -> list[Example]:
    return [example for source in sources if source.split == split_name for example in source.examples]


def steps_of(recipe: Recipe) -> dict[str, Step]:
    """What drops or changes rows of each split, in order; names → steps."""
    curate = recipe.curate
    steps: dict[str, Step] = {"usable": usable}
    if curate.personal != "keep":
        steps["personal"] = partial(personal, how=curate.personal)
    steps["length"] = lambda examples: length(examples, curate.min_chars, curate.max_chars)
    return steps | {"deduplicate": deduplicate} if curate.deduplicate else steps


def apply(name: str, step: Step, splits: Splits, rejects: list[Reject]) -> StepCount:
    """Run a step on every split, in place."""
    rows_in = sum(map(len, splits.values()))
    dropped, changed = [], 0
    for split_name, examples in splits.items():
        splits[split_name], gone = step(examples)
        same = {id(row) for row in examples}
        changed += sum(id(row) not in same for row in splits[split_name])
        dropped += gone
    rejects += dropped
    return StepCount.of(name, rows_in, dropped, changed)


def _cut(splits: Splits, recipe: Recipe, prefix: str = "") -> list[str]:
    """Fill the missing splits from train, in place; a sentence for each. Recipes have `prefix` before their names."""
    wanted = {"test": recipe.splits.test, "validation": recipe.splits.validation}
    shares = {name: share for name, share in wanted.items() if not splits[name]}
    if not shares:
        return []
    rows = len(splits["train"])
    needed = 1 + sum(share > 0 for share in shares.values())
    parts, words = split(splits["train"], shares, recipe.splits.seed)
    splits.update(parts)
    if not all(parts[name] for name, share in shares.items() if share):
        missing = " and ".join(prefix + name for name in shares)
        what = f"{rows} different rows or groups are too few to cut {missing} from"
        entries = f"entries with `split: {prefix}test` and `split: {prefix}validation`"
        raise DataError(what, "data", f"Give at least {needed}, or {entries}")
    taken = {name: f"{len(parts[name])} of {rows} rows" for name in shares}
    return [_said(prefix, name, share, taken[name], words, recipe) for name, share in shares.items()]


def _said(prefix: str, name: str, share: float, taken: str, words: str, recipe: Recipe) -> str:
    if not share:
        return f"no {prefix}{name} split: none was given, and `splits.{name}` is 0"
    how = f"stratified by {words}, " if words else ""
    groups = "grouped, " if any(entry.group for entry in recipe.data) else ""
    source = prefix.removesuffix("_") or "train"
    cut = f"no {prefix}{name} split given: {share:.0%} cut from {source}"
    return f"{cut} ({taken}, {how}{groups}seed {recipe.splits.seed})"


def _refuse_empty(splits: Splits, given: Sequence[str], steps: Sequence[StepCount]) -> None:
    empty = next((name for name in ("train", *given) if not splits[name]), None)
    if empty is None:
        return
    reasons = [f"{count} {kind}" for step in steps for kind, count in step.dropped.items()]
    dropped = f" (dropped: {', '.join(reasons)})" if reasons else ""
    mend = "Give more rows, or loosen `curate`" if reasons else f"Add an entry with `split: {empty}`"
    raise DataError(f"no row is left in {empty}{dropped}", "data", mend)


def _silent(stage: str, done: int, total: int) -> None:
    return
