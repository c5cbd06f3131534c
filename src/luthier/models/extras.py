"""Packages that not every installation has."""

from __future__ import annotations

from importlib.util import find_spec

from luthier.errors import ModelError


def require_bitsandbytes() -> None:
    """Raise ModelError where bitsandbytes is not installed."""
    if find_spec("bitsandbytes") is None:
        raise ModelError("weights of four bits need bitsandbytes, which is not installed", "load_in_4bit",
                         "`pip install 'luthier[bnb]'`, or leave `load_in_4bit` out")  # fmt: skip
