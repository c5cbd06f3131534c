"""F1 over a whole test split, for one label or several per row.

F1 of a class is 2·TP / (2·TP + FP + FN). `macro_f1` is its mean over the classes that occur among the references
(scikit-learn's `f1_score` with `labels` set to those); `micro_f1` pools all classes before dividing.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

import numpy as np

from luthier.evaluate.intervals import Contrast, Interval, guarded
from luthier.evaluate.resample import (
    Floats,
    bootstrap_sums,
    by_group,
    ends,
    half_sums,
    resamples,
    two_sided_p,
)

LabelSets = Sequence[Set[str]]


def f1(
    references: LabelSets,
    predictions: LabelSets,
    groups: Sequence[str | None],
    metric: str,
    confidence: float,
) -> Interval:
    """The F1 with its percentile bootstrap interval over rows or groups (Efron 1979)."""
    classes = sorted(set().union(*references, *predictions))
    units_GK = by_group(_columns(references, predictions, classes), groups)
    resampled_B = _f1(bootstrap_sums(units_GK, resamples(confidence)), metric)
    low, high = ends(resampled_B, confidence)
    value = float(_f1(units_GK.sum(axis=0)[None], metric)[0])
    return Interval(value, min(low, value), max(high, value))


def plain_f1(wanted_NC: Floats, given_NC: Floats, metric: str) -> float:
    """The F1 of memberships (N, classes) of 0 and 1, without an interval."""
    return float(_f1(_counted(wanted_NC, given_NC).sum(axis=0)[None], metric)[0])


def paired_f1(
    references: LabelSets,
    tuned: LabelSets,
    baseline: LabelSets,
    groups: Sequence[str | None],
    metric: str,
    confidence: float,
) -> Contrast:
    """F1 tuned minus baseline: paired percentile bootstrap, guarded by swapping the two solvers' predictions.

    Yeh (2000), More accurate tests for the statistical significance of result differences: the swap is done at
    random within a row (or group), and is exact where the solvers are exchangeable.
    """
    classes = sorted(set().union(*references, *tuned, *baseline))
    rows_NK = np.hstack([_columns(references, answers, classes) for answers in (tuned, baseline)])
    units_GK = by_group(rows_NK, groups)
    tuned_GK, baseline_GK = np.hsplit(units_GK, 2)
    times = resamples(confidence)
    tuned_BK, baseline_BK = np.hsplit(bootstrap_sums(units_GK, times), 2)
    resampled_B = _f1(tuned_BK, metric) - _f1(baseline_BK, metric)
    moved_BK = half_sums(tuned_GK - baseline_GK, times)
    tuned_K, baseline_K = tuned_GK.sum(axis=0), baseline_GK.sum(axis=0)
    swapped_B = _f1(tuned_K - moved_BK, metric) - _f1(baseline_K + moved_BK, metric)
    value = float(_f1(tuned_K[None], metric)[0] - _f1(baseline_K[None], metric)[0])
    low, high = ends(resampled_B, confidence)
    p = max(two_sided_p(resampled_B, 0.0), two_sided_p(swapped_B, value, tolerance=1e-9))
    interval = Interval(value, min(low, value), max(high, value))
    return guarded(interval, p, confidence, "paired bootstrap interval, permutation test by swapping predictions")


def _columns(references: LabelSets, predictions: LabelSets, classes: Sequence[str]) -> Floats:
    """Per row and class: 2·TP, 2·TP + FP + FN, and whether the class is a reference; shape (N, 3·classes)."""
    index = {label: i for i, label in enumerate(classes)}
    return _counted(_indicator(references, index), _indicator(predictions, index))


def _counted(wanted: Floats, given: Floats) -> Floats:
    return np.hstack([2 * wanted * given, wanted + given, wanted])


def _indicator(sets: LabelSets, index: dict[str, int]) -> Floats:
    table = np.zeros((len(sets), len(index)))
    cells = [(row, index[label]) for row, labels in enumerate(sets) for label in labels]
    if cells:
        table[tuple(np.array(cells).T)] = 1.0
    return table


def _f1(sums_BK: Floats, metric: str) -> Floats:
    hits, sizes, wanted = np.hsplit(sums_BK, 3)
    if metric == "micro_f1":
        return hits.sum(axis=1) / np.maximum(sizes.sum(axis=1), 1)
    present = wanted > 0.5
    return np.where(present, hits / np.maximum(sizes, 1), 0.0).sum(axis=1) / np.maximum(present.sum(axis=1), 1)
