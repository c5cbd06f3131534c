"""What to know about the splits before training: errors where it cannot work, notes where it may surprise."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from luthier.data.example import Example
from luthier.data.prepared import Task
from luthier.data.steps.leakage import input_key
from luthier.errors import DataError

FEW_TEST_ROWS = 20
Splits = Mapping[str, Sequence[Example]]


def check(splits: Splits, task: Task) -> tuple[tuple[str, ...], bool, list[str]]:
    """The labels (sorted), whether a row may have several, and notes.

    Raises `DataError` for a classification task with fewer than two labels in train, or with both single
    labels and lists of them.
    """
    notes = _small_test(splits) + _shared_groups(splits)
    if task != "classify":
        return (), False, notes
    multi_label = _multi_label(splits)
    counts = {name: Counter(label for row in rows for label in _labels(row)) for name, rows in splits.items()}
    if len(counts["train"]) < 2:
        found = ", ".join(counts["train"]) or "none"
        mend = "Classification needs at least two labels; check `field_label`"
        raise DataError(f"train has fewer than two labels ({found})", "data", mend)
    notes += _unseen(counts) + _single(counts["train"]) + _spellings(counts) + _conflicts(splits)
    return tuple(sorted(set().union(*counts.values()))), multi_label, notes


def _labels(example: Example) -> tuple[str, ...]:
    return example.labels if example.labels is not None else (str(example.label),)


def _multi_label(splits: Splits) -> bool:
    rows = [example for examples in splits.values() for example in examples]
    several = [example.labels is not None for example in rows]
    if any(several) and not all(several):
        example = rows[several.index(not several[0])]
        what = "some rows have one label, others a list of labels; this one differs from the first row"
        raise DataError(what, example.row_id, "Write all labels as lists, or none")
    return all(several)


def _small_test(splits: Splits) -> list[str]:
    rows = len(splits["test"])
    if not 0 < rows < FEW_TEST_ROWS:
        return []
    return [f"the test split has only {rows} rows: intervals will be wide, and a verdict of `ship` unlikely"]


def _shared_groups(splits: Splits) -> list[str]:
    groups = {name: {row.group for row in rows if row.group is not None} for name, rows in splits.items()}
    pairs = [("train", "validation"), ("train", "test"), ("validation", "test")]
    shared = [(len(groups[one] & groups[other]), one, other) for one, other in pairs]
    return [f"{count} groups are both in {one} and in {other}" for count, one, other in shared if count]


def _unseen(counts: Mapping[str, Counter[str]]) -> list[str]:
    notes = []
    for name in ("validation", "test"):
        unseen = sorted(set(counts[name]) - set(counts["train"]))
        if unseen:
            notes.append(f"labels of {name} that train does not have, and no model can learn: {_list(unseen)}")
    return notes


def _single(counts: Counter[str]) -> list[str]:
    single = sorted(label for label, count in counts.items() if count == 1)
    return [f"labels with a single row in train: {_list(single)}"] if single else []


def _spellings(counts: Mapping[str, Counter[str]]) -> list[str]:
    spellings = defaultdict(set)
    for label in set().union(*counts.values()):
        spellings[label.casefold()].add(label)
    return [
        f"labels that differ only in capitals count as different: {_list(sorted(several))}"
        for _, several in sorted(spellings.items())
        if len(several) > 1
    ]


def _conflicts(splits: Splits) -> list[str]:
    """Equal inputs with different labels: whatever a model answers, it is wrong on some."""
    seen: dict[str, dict[tuple[str, ...], str]] = defaultdict(dict)
    for rows in splits.values():
        for example in rows:
            seen[input_key(example)].setdefault(tuple(sorted(_labels(example))), example.row_id)
    conflicts = [answers for answers in seen.values() if len(answers) > 1]
    if not conflicts:
        return []
    (one, first), (other, second) = list(conflicts[0].items())[:2]
    shown = f"{first} is {' + '.join(one)}, {second} is {' + '.join(other)}"
    count = f"{len(conflicts)} input has" if len(conflicts) == 1 else f"{len(conflicts)} inputs have"
    return [f"{count} several labels ({shown})"]


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
