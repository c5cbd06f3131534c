"""What is measured: a case, its sides, and what each side is handed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.count import Amount

Environment = Literal["luthier", "peer"]
Unit = Literal["tokens", "rows", "pairs", "items", "start"]


@dataclass(frozen=True)
class Side:
    """One way to do the work: a program of bench/sides, the environment it runs in, and its settings.

    `rows` is how many rows a slice has; a slow side gets fewer, of the same lengths.
    """

    name: str
    program: str
    rows: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Environment = "peer"


@dataclass(frozen=True)
class Task:
    """What a process is handed on stdin, and what it then will have done.

    `digest` names the rows that it must say it has seen; empty where a program sees no rows.
    """

    job: dict[str, Any]
    amount: Amount
    digest: str = ""


@dataclass(frozen=True)
class Inputs:
    """Where a case finds data and models, and may write."""

    data: Path
    cache: Path
    scratch: Path
    threads: int


@dataclass(frozen=True)
class Case:
    """A comparison. The first side is Luthier; ratios are its rate over that of another in the same turn."""

    name: str
    title: str
    unit: Unit
    sides: tuple[Side, ...]
    prepare: Callable[[Inputs], Callable[[Side], Task]]
    parity: Callable[[Inputs], dict[str, Any]] | None = None
    """What the process of bench/sides/parity.py is handed; None where there is no gradient to compare."""
    remark: str = ""
