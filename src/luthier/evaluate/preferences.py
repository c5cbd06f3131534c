"""Who prefers which answer of a pair, and what can be said without a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from luthier.data.example import Example, last_words
from luthier.evaluate.classic import fit
from luthier.evaluate.scores import Answer
from luthier.evaluate.tfidf import features


def prefer(pairs: Sequence[Example], scores_P2: np.ndarray) -> list[Answer]:
    """The answers with the larger scores; `scores_P2` has those of the chosen and of the rejected one."""
    answers = []
    for pair, (chosen, rejected) in zip(pairs, scores_P2.tolist(), strict=True):
        preferred = _texts(pair)[0 if chosen > rejected else 1]
        answers.append(Answer(text=preferred, preference=(chosen, rejected)))
    return answers


def by_length(train: Sequence[Example], tests: Sequence[Example]) -> list[Answer]:
    """The longer answers (in characters), or the shorter ones, whichever were chosen more often in training."""
    known, asked = _lengths(train), _lengths(tests)
    sign = 1.0 if np.sign(known[:, 0] - known[:, 1]).sum() >= 0 else -1.0
    return prefer(tests, sign * asked)


def by_words(train: Sequence[Example], tests: Sequence[Example]) -> list[Answer]:
    """A score that is linear in the TF-IDF of an answer, fitted to the training choices; deterministic.

    Bradley and Terry (1952) by logistic regression on the difference of the two answers, each pair seen both ways
    round, so that the order says nothing.
    """
    known, asked = ([text for pair in pairs for text in _texts(pair)] for pairs in (train, tests))
    seen, unseen = features(known, asked)
    ahead = seen[::2] - seen[1::2]
    from scipy.sparse import vstack

    weights = fit(vstack([ahead, -ahead]), [True] * len(train) + [False] * len(train)).coef_[0]
    return prefer(tests, (unseen @ weights).reshape(-1, 2))


def _lengths(pairs: Sequence[Example]) -> np.ndarray:
    return np.array([[len(text) for text in _texts(pair)] for pair in pairs], dtype=float).reshape(-1, 2)


def _texts(pair: Example) -> tuple[str, str]:
    assert pair.chosen is not None, pair.row_id
    assert pair.rejected is not None, pair.row_id
    return last_words(pair.chosen) or "", last_words(pair.rejected) or ""
