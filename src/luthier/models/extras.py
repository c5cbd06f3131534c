"""Packages that not every installation has."""

from __future__ import annotations

from importlib.util import find_spec

from luthier.errors import ModelError


def require_bitsandbytes(what: str = "weights of four bits", key: str = "load_in_4bit") -> None:
    """Raise ModelError, naming what needs it and the recipe's key, where bitsandbytes is not installed."""
    if find_spec("bitsandbytes") is None:
        raise ModelError(f"{what} need bitsandbytes, which is not installed", key,
                         f"`pip install 'luthier[bnb]'`, or leave `{key}` out")  # fmt: skip
