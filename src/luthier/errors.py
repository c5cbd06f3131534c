"""Everything that Luthier raises on purpose.

    LuthierError                    one root; `exit_code` is what the command line ends with
    ├── RecipeError   (ValueError)  the recipe, or an option that changes it
    ├── DataError     (ValueError)  a data file, a row, a column, a split
    ├── ModelError    (ValueError)  a model's name, files, format or family
    ├── StoreError    (OSError)     the home folder, a database, a blob
    ├── NotFound      (LookupError) a run, version, alias or dataset that is not there
    ├── MissingExtra  (ImportError) an optional package that is not installed
    ├── TrainingError (RuntimeError) a fit that cannot go on (exit code 1: not the user's input)
    └── EngineLost (RuntimeError)   the process of an engine that serves a model has ended (exit code 1)

An error says three things: what happened, where, and how to mend it. Anything else that is raised is a bug of ours.
"""

from __future__ import annotations


class LuthierError(Exception):
    """Base of all errors raised on purpose; `str()` is one paragraph: what, where, how to mend it."""

    exit_code = 2

    def __init__(self, what: str, where: str = "", mend: str = "") -> None:
        super().__init__(what, where, mend)
        self.what, self.where, self.mend = what, where, mend

    def __str__(self) -> str:
        start = f"{self.where}: {self.what}" if self.where else self.what
        return " ".join(_sentence(part) for part in (start, self.mend) if part)


class RecipeError(LuthierError, ValueError):
    """A recipe key or value is unknown, missing or contradicts another."""


class DataError(LuthierError, ValueError):
    """Data cannot be read, or is not what the recipe says it is."""


class ModelError(LuthierError, ValueError):
    """A model cannot be found, read, or used in the way that was asked for."""


class StoreError(LuthierError, OSError):
    """The home, its database or its blobs cannot be used."""


class NotFound(LuthierError, LookupError):
    """A named run, model version, alias or dataset version does not exist."""


class MissingExtra(LuthierError, ImportError):
    """A feature needs a package that is not installed; the message names the extra."""


class TrainingError(LuthierError, RuntimeError):
    """A fit cannot continue, for example because its loss is not finite."""

    exit_code = 1


class EngineLost(LuthierError, RuntimeError):
    """The process that writes a model's answers has ended, and what was asked of it cannot be asked again."""

    exit_code = 1


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."
