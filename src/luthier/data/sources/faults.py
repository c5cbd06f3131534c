"""Collecting what is wrong with rows, so that one error can name the first and count the rest."""

from __future__ import annotations

from luthier.errors import DataError


class Faults:
    """The first faulty row and how many more there are."""

    def __init__(self) -> None:
        self.first: DataError | None = None
        self.more = 0

    def add(self, fault: DataError, where: str) -> None:
        if self.first is None:
            self.first = DataError(fault.what, where, fault.mend)
        else:
            self.more += 1

    def raise_first(self) -> None:
        """Raise `DataError` for the first faulty row, with the number of further ones, if there is one."""
        if self.first is None:
            return
        further = f" ({self.more} more {'row has' if self.more == 1 else 'rows have'} a fault)" if self.more else ""
        raise DataError(self.first.what + further, self.first.where, self.first.mend)
