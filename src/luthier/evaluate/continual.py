"""What is left of earlier tasks when others are learnt after them (Lopez-Paz and Ranzato 2017, arXiv:1706.08840)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def learn_in_turn(tasks: int, learn: Callable[[int], None], score: Callable[[int], float]) -> np.ndarray:
    """R (tasks, tasks): R[i, j] is the score on task j after task i was learnt, from task 0 on, one after the other.

    `score` is higher for better.
    """
    found = np.zeros((tasks, tasks))
    for task in range(tasks):
        learn(task)
        found[task] = [score(other) for other in range(tasks)]
    return found


def average(scores: np.ndarray) -> float:
    """The mean score on all tasks after the last one: mean of R[T-1, j]."""
    return float(scores[-1].mean())


def backward_transfer(scores: np.ndarray) -> float:
    """What later tasks did to earlier ones: the mean of R[T-1, j] - R[j, j], j < T-1. Below 0, they were forgotten.

    Raises ValueError where there is only one task.
    """
    if len(scores) < 2:
        raise ValueError("there is nothing to forget with one task")
    return float((scores[-1] - scores.diagonal())[:-1].mean())
