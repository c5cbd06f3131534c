"""What a teacher says about each target, computed once and kept on disk by content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from luthier.data.batch import Batch
from luthier.data.stream import Rows, packed
from luthier.models.policy import Policy

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Likeliest:
    """Of the first `vocabulary` tokens, the `k` likeliest at `temperature`."""

    k: int
    temperature: float = 1.0
    vocabulary: int | None = None


def bucketed(logprobs_nV: Tensor, ids_nk: Tensor) -> Tensor:
    """Log-probabilities of the k outcomes `ids` and of any other one: (n, V), (n, k) → (n, k + 1); k < V."""
    others = logprobs_nV.scatter(1, ids_nk, -torch.inf).logsumexp(1, keepdim=True)
    return torch.cat([logprobs_nV.gather(1, ids_nk), others], 1)


def taught(
    load: Callable[[], Policy], rows: Rows, how: Likeliest, key: str, cache: Path, budget: int,
    progress: Progress = lambda done, total: None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Of every target of all rows in order: the teacher's k likeliest tokens, `teacher_ids` (N, k) int32, and their
    log-probabilities and that of any other token, `teacher_logprobs` (N, k + 1) float32.

    Memory-mapped. `load` gives the teacher and is called only where they are not there; `key` names its weights.
    """
    folder = cache / _digest(rows, f"{key} {how}")
    if not folder.exists():
        part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        part.mkdir(parents=True, exist_ok=True)
        _write(load(), rows, how, part, budget, progress)
        part.rename(folder)
    names = ("teacher_ids", "teacher_logprobs")
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}


def _write(teacher: Policy, rows: Rows, how: Likeliest, folder: Path, budget: int, progress: Progress) -> None:
    targets = sum(int(np.count_nonzero(rows.row(i)[1][1:])) for i in range(len(rows)))
    ids = np.lib.format.open_memmap(folder / "teacher_ids.npy", "w+", np.int32, (targets, how.k))
    logprobs = np.lib.format.open_memmap(folder / "teacher_logprobs.npy", "w+", np.float32, (targets, how.k + 1))
    done = rows_done = 0
    with teacher.evaluating():
        for batch in packed(rows, budget, share_prefix=True)(range(len(rows))):
            place = slice(done, done + len(batch.target_N))
            for name, values in zip((ids, logprobs), _likeliest(teacher, batch, how), strict=True):
                name[place] = values.cpu().numpy()
            done, rows_done = place.stop, rows_done + batch.rows
            progress(rows_done, len(rows))
    ids.flush()
    logprobs.flush()


def _likeliest(teacher: Policy, batch: Batch, how: Likeliest) -> tuple[Tensor, Tensor]:
    found: list[tuple[Tensor, Tensor]] = []

    def look(rows: slice, logits: Tensor) -> None:
        logprobs = torch.log_softmax(logits[:, : how.vocabulary] / how.temperature, 1)
        ids = logprobs.topk(how.k).indices
        found.append((ids, bucketed(logprobs, ids)))

    teacher.over_vocab(batch.to(teacher.device), look)
    ids, logprobs = zip(*found, strict=True)
    return torch.cat(ids), torch.cat(logprobs)


def _digest(rows: Rows, key: str) -> str:
    digest = hashlib.sha256(f"{key} {torch.__version__}".encode())
    for i in range(len(rows)):
        for values, dtype in zip(rows.row(i), (np.int32, np.float32), strict=True):
            digest.update(np.ascontiguousarray(values, dtype).tobytes())
            digest.update(b"|")
    return digest.hexdigest()[:32]
