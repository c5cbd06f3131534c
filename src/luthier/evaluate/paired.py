"""Two solvers on the same rows: how much better is one, and would that be chance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist

import numpy as np

from luthier.errors import DataError
from luthier.evaluate.f1 import paired_f1
from luthier.evaluate.intervals import Contrast
from luthier.evaluate.means import paired_mean
from luthier.evaluate.proportions import paired_proportions
from luthier.evaluate.scores import (
    F1_METRICS,
    LOWER_IS_BETTER,
    Delta,
    Sample,
    Scores,
    is_binary,
    label_set,
    values,
    weights,
)


def compare(tuned: Scores, baseline: Scores, metric: str, confidence: float = 0.95) -> Delta:
    """How much better `tuned` is, paired by row id: positive is better, also for nll.

    The interval excludes 0 exactly where `p <= 1 - confidence`. Raises DataError where the rows are not the same.
    """
    ours, theirs = pairs(tuned, baseline, metric)
    groups = [row.group for row in ours]
    if metric in F1_METRICS:
        contrast = _f1_contrast(ours, theirs, metric, confidence)
    elif is_binary(ours, metric) and is_binary(theirs, metric) and _independent(groups):
        contrast = paired_proportions(values(ours, metric), values(theirs, metric), confidence)
    else:
        gains_N = values(ours, metric) - values(theirs, metric)
        sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
        contrast = paired_mean(sign * gains_N, _same_weights(ours, theirs, metric), groups, confidence)
    return Delta(*contrast[:4], len(ours), contrast.method)


def best_baseline(solvers: Mapping[str, Scores], metric: str) -> str:
    """The name of the solver with the best value, the first of equals; those without the metric do not compete.

    Hand in the baselines only, without the tuned model. Raises DataError where none has the metric.
    """
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    ranked = {name: sign * _value(scores, metric) for name, scores in solvers.items() if metric in scores.metrics}
    if not ranked:
        raise DataError(f"no baseline is scored by {metric}", f"baselines {', '.join(solvers) or 'none'}")
    return max(ranked, key=ranked.__getitem__)


def rows_needed(delta: float, discordance: float, confidence: float = 0.95, power: float = 0.8) -> int:
    """Test rows for the interval of a true difference `delta` to exclude 0 with probability `power`.

    `discordance` is the share of rows on which the two solvers differ; for scores that are not 0/1, the mean
    squared difference. Connor (1987), Sample size for testing differences in proportions for the paired-sample
    design. Raises ValueError where no data can have these values.
    """
    if delta == 0 or discordance < delta * delta:
        raise ValueError(f"a difference of {delta} with a discordance of {discordance} does not exist")
    alpha, beta = NormalDist().inv_cdf(0.5 + confidence / 2), NormalDist().inv_cdf(power)
    root = alpha * math.sqrt(discordance) + beta * math.sqrt(discordance - delta * delta)
    return math.ceil((root / delta) ** 2)


def _value(scores: Scores, metric: str) -> float:
    return scores.estimate(metric).value


def _f1_contrast(ours: list[Sample], theirs: list[Sample], metric: str, confidence: float) -> Contrast:
    return paired_f1(
        [label_set(row.reference) for row in ours],
        [label_set(row.prediction) for row in ours],
        [label_set(row.prediction) for row in theirs],
        [row.group for row in ours],
        metric,
        confidence,
    )


def pairs(tuned: Scores, baseline: Scores, metric: str) -> tuple[list[Sample], list[Sample]]:
    """The two solvers' samples of the same rows, in the order of `tuned`."""
    ours, theirs = tuned.scored(metric), baseline.scored(metric)
    by_id = {row.row_id: row for row in theirs}
    ids = [row.row_id for row in ours]
    where = f"{metric} of {tuned.solver} and {baseline.solver}" if tuned.solver != baseline.solver else metric
    if len(set(ids)) < len(ids) or len(by_id) < len(theirs):
        raise DataError("a row id occurs twice", where, "Give every test row its own id")
    different = sorted(set(ids) ^ by_id.keys())
    if different:
        raise DataError(
            f"the two scored different rows: {len(different)} are in one only, such as {different[0]}",
            where,
            "Evaluate both on the same split",
        )
    changed = next((row.row_id for row in ours if row.reference != by_id[row.row_id].reference), None)
    if changed is not None:
        raise DataError(f"row {changed} has two references", where, "Evaluate both on the same version of the data")
    return ours, [by_id[row_id] for row_id in ids]


def _same_weights(ours: list[Sample], theirs: list[Sample], metric: str) -> np.ndarray:
    counts_N = weights(ours, metric)
    if not np.array_equal(counts_N, weights(theirs, metric)):
        raise DataError(
            f"{metric} is counted in different units, such as the tokens of two tokenizers",
            mend="Compare models that share a tokenizer, or choose another metric",
        )
    return counts_N


def _independent(groups: list[str | None]) -> bool:
    named = [group for group in groups if group is not None]
    return len(set(named)) == len(named)
