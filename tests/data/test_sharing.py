"""How much of rows is computed."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.data.sharing import computed_share


class Made:
    """Rows of a common beginning and an end of their own, whose last three tokens are learnt."""

    def __init__(self, count: int, common: int, own: int) -> None:
        self.count, self.common, self.own = count, common, own

    def __len__(self) -> int:
        return self.count

    def row(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        ids = np.concatenate([np.arange(self.common), 1000 + index * 100 + np.arange(self.own)])
        return ids, (np.arange(len(ids)) >= len(ids) - 3).astype(np.float32)


def test_what_rows_begin_with_is_computed_once_a_pack() -> None:
    """Packs of eleven rows of 100 tokens, forty of them shared: 40 + 11 × 60 of 1,100."""
    assert computed_share(Made(400, 40, 60)) == pytest.approx(700 / 1100)
    assert computed_share(Made(400, 0, 60)) == 1.0
    assert computed_share(Made(3, 40, 60)) == pytest.approx(220 / 300)


def test_pairs_stay_together() -> None:
    """Packs of six pairs: 40 + 12 × 60 of 1,200."""
    assert computed_share(Made(400, 40, 60), together=2) == pytest.approx(760 / 1200)
    assert computed_share(Made(0, 40, 60)) == 1.0
