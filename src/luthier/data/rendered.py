"""Rendered rows: flat arrays of token ids and weights, in memory or mapped from disk."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

ARRAYS = ("ids", "weights", "offsets", "kept")


@dataclass(frozen=True)
class RenderReport:
    """What rendering did to the rows; names are row ids."""

    rows: int
    """Rows that came out."""
    tokens: int
    trained_tokens: int
    """Tokens whose prediction counts (weight above 0)."""
    coverage: np.ndarray
    """Share of each row's tokens that count, (rows,)."""
    zero_coverage: tuple[str, ...]
    """Rows left out because none of their tokens counts."""
    truncated: tuple[str, ...]
    """Rows cut to the sequence length."""
    dropped: tuple[str, ...]
    """Rows left out because they are longer than the sequence length."""
    unlike_prompt: tuple[str, ...]
    """Rows with an answer that begins elsewhere than a prompt ends, as the template's own marks have it."""
    longest: int
    """Tokens of the longest row, before any were cut or dropped."""


@dataclass(frozen=True)
class Rendered:
    """Rows as token ids, with the weight of predicting each token; row i is `offsets[i] : offsets[i + 1]`.

    ids: int32 (T,). weights: float32 (T,), 0 at the first token of each row, which nothing predicts.
    offsets: int64 (rows + 1,). kept: int64 (rows,), the number of the example that each row was made from.
    """

    ids: np.ndarray
    weights: np.ndarray
    offsets: np.ndarray
    row_ids: list[str]
    kept: np.ndarray
    report: RenderReport

    def __len__(self) -> int:
        return len(self.kept)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 (rows,)."""
        return np.diff(self.offsets)

    @property
    def examples(self) -> list[int]:
        """The numbers of the examples that are left, in order; a preference pair is two rows and one example."""
        return np.unique(self.kept).tolist()

    def row(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and weights of one row, both (L,)."""
        part = slice(self.offsets[index], self.offsets[index + 1])
        return self.ids[part], self.weights[part]


@dataclass(frozen=True)
class Chosen:
    """Some of a set of rendered rows, in the order of `numbers`."""

    rows: Rendered | Joined
    numbers: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 (rows,)."""
        return self.rows.lengths[self.numbers]

    def row(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and weights of one row, both (L,)."""
        return self.rows.row(int(self.numbers[index]))


@dataclass(frozen=True)
class Joined:
    """Several sets of rendered rows as one: those of the first, then those of the second, …"""

    parts: tuple[Rendered | Chosen, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 (rows,)."""
        return np.concatenate([part.lengths for part in self.parts])

    def row(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and weights of one row, both (L,)."""
        for part in self.parts:
            if index < len(part):
                return part.row(index)
            index -= len(part)
        raise IndexError(index)


def save(rendered: Rendered, folder: Path) -> None:
    """Writes the arrays and the report into `folder`, which appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for name in ARRAYS:
        np.save(part / f"{name}.npy", getattr(rendered, name))
    np.save(part / "coverage.npy", rendered.report.coverage)
    report = {f.name: getattr(rendered.report, f.name) for f in fields(RenderReport) if f.name != "coverage"}
    (part / "report.json").write_text(json.dumps(report), encoding="utf-8")
    try:
        part.rename(folder)
    except OSError:  # another process was faster; what it wrote is the same
        shutil.rmtree(part)
        if not folder.exists():
            raise


def load(folder: Path, row_ids: Sequence[str]) -> Rendered:
    """Maps what `save` wrote; `row_ids` are those of all examples it was made from."""
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    report = {name: tuple(value) if isinstance(value, list) else value for name, value in report.items()}
    coverage = np.load(folder / "coverage.npy")
    kept_ids = [row_ids[number] for number in arrays["kept"]]
    return Rendered(**arrays, row_ids=kept_ids, report=RenderReport(**report, coverage=coverage))
