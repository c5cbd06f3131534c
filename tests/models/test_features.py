"""Features of the frozen trunk: right, kept, and found again by content only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from policies import files_of, language_rows

from luthier.data.batch import Batch, pack
from luthier.models import features as module
from luthier.models.features import features
from luthier.models.load import load_base


class Rows:
    def __init__(self, *rows: list[int]) -> None:
        self.rows = [np.array(row, np.int32) for row in rows]
        self.lengths = np.array([len(row) for row in rows])

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, index: int, /) -> tuple[np.ndarray, np.ndarray]:
        return self.rows[index], np.zeros(len(self.rows[index]), np.float32)


@dataclass
class Trunk:
    """A policy whose features are the first id and the length of a row; it counts the rows it has seen."""

    pooling: str = "mean"
    seen: int = 0
    fails: bool = False
    device = torch.device("cpu")
    together = False

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        yield

    def pooled(self, batch: Batch) -> torch.Tensor:
        if self.fails:
            raise KeyboardInterrupt
        self.seen += batch.rows
        first = batch.last_R - batch.lengths_R + 1
        return torch.stack([batch.ids_T[first], batch.lengths_R], 1).float()


ROWS = Rows([7, 1, 2], [9], [8, 3])
EXPECTED = [[7, 3], [9, 1], [8, 2]]


def test_they_come_in_the_order_of_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUDGET_TOKENS", 3)
    seen: list[tuple[int, int]] = []
    found = features(Trunk(), ROWS, "key", tmp_path, lambda *at: seen.append(at))  # type: ignore[arg-type]
    assert found.tolist() == EXPECTED
    assert found.dtype == np.float32
    assert isinstance(found, np.memmap)
    assert seen == [(2, 3), (3, 3)]


def test_they_are_those_of_the_trunk(tiny_bert: Path, tmp_path: Path) -> None:
    policy = load_base(files_of(tiny_bert))
    rows = language_rows(90)
    found = features(policy, Rows(*(row.ids.tolist() for row in rows)), "key", tmp_path)
    with policy.evaluating():
        for own, row in zip(found, rows, strict=True):
            torch.testing.assert_close(torch.from_numpy(own.copy()), policy.pooled(pack([row]))[0])


def test_they_are_computed_once(tmp_path: Path) -> None:
    trunk = Trunk()
    for _ in range(3):
        assert features(trunk, ROWS, "key", tmp_path).tolist() == EXPECTED  # type: ignore[arg-type]
    assert trunk.seen == 3
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("rows", "key", "pooling"),
    [
        (Rows([7, 1, 2], [9], [8, 4]), "key", "mean"),
        (Rows([7, 1], [2, 9], [8, 3]), "key", "mean"),
        (Rows([8, 3], [9], [7, 1, 2]), "key", "mean"),
        (ROWS, "other weights", "mean"),
        (ROWS, "key", "last"),
    ],
)
def test_whatever_decides_them_makes_others(rows: Rows, key: str, pooling: str, tmp_path: Path) -> None:
    features(Trunk(), ROWS, "key", tmp_path)  # type: ignore[arg-type]
    trunk = Trunk(pooling)
    features(trunk, rows, key, tmp_path)  # type: ignore[arg-type]
    assert trunk.seen == len(rows)


def test_what_was_interrupted_is_not_taken_for_them(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        features(Trunk(fails=True), ROWS, "key", tmp_path)  # type: ignore[arg-type]
    assert not list(tmp_path.glob("*.npy"))
    assert features(Trunk(), ROWS, "key", tmp_path).tolist() == EXPECTED  # type: ignore[arg-type]
