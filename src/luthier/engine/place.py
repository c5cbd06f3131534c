"""Which of several processes this one is, as its environment says; without torch."""

from __future__ import annotations

import os

RENDEZVOUS = "LUTHIER_RENDEZVOUS"
"""The variable that says where the processes meet; those that torchrun started meet where it says."""


def started() -> int:
    """Number of processes that work together; 1 where nothing says otherwise."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def number() -> int:
    """This process's number among them."""
    return int(os.environ.get("RANK", "0"))


def launched() -> int:
    """Processes that torchrun started, this one among them; 1 where it was not torchrun that started this one."""
    return started() if "TORCHELASTIC_RUN_ID" in os.environ else 1
