"""How much memory was held at the most, between two moments."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

import torch

CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
FORGET_PEAK = "5"
"""What the kernel takes for "the peak of the resident memory is what is resident now" (proc(5))."""


class Peak:
    """The most bytes of memory since it was made: resident in the process, or allocated on a GPU.

    `begin` opens a section, whose own peak is `section()`; `overall()` is that of all sections. There is one peak of
    a process, so two of these must not be used at a time. Where the kernel cannot forget the peak of the resident
    memory, sections have that of the process's life.
    """

    def __init__(self, device: torch.device | str) -> None:
        self.cuda = torch.device(device).type == "cuda"
        self.earlier = 0
        self._forget()

    def begin(self) -> int:
        """Open a section; the bytes that are held now."""
        self.earlier = self.overall()
        self._forget()
        return self.section()

    def section(self) -> int:
        """The most bytes since `begin`."""
        if self.cuda:
            return torch.cuda.max_memory_allocated()
        return _resident_peak()

    def overall(self) -> int:
        """The most bytes of all sections."""
        return max(self.earlier, self.section())

    def _forget(self) -> None:
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
            return
        with suppress(OSError):
            CLEAR.write_text(FORGET_PEAK)


def _resident_peak() -> int:
    if not STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
