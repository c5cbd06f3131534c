"""TF-IDF of words and characters: what the classic baseline learns from and similarity is measured with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def features(train: Sequence[str], tests: Sequence[str]) -> tuple[Any, Any]:
    """Sparse float32 rows of the training texts, from which the vocabulary comes, and of the test texts.

    Words or runs of punctuation, 1–2 in a row, beside 2–5 characters within word boundaries; logarithmic counts;
    the 10 000 most frequent features of each kind. Each half has length 1. At least one text must not be blank.
    """
    import numpy as np
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    shared = {"sublinear_tf": True, "dtype": np.float32, "max_features": 10_000}
    kinds = (
        TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]+", **shared),
        TfidfVectorizer(ngram_range=(2, 5), analyzer="char_wb", **shared),
    )
    rows = [(kind.fit_transform(train), kind.transform(tests)) for kind in kinds]
    fitted, applied = zip(*rows, strict=True)
    return hstack(fitted, format="csr"), hstack(applied, format="csr")
