"""The public names: each is there, leads to what it names, and costs nothing until it is used."""

from __future__ import annotations

import pytest

import luthier
from luthier import errors


@pytest.mark.parametrize("name", luthier.__all__)
def test_each_name_leads_somewhere(name: str) -> None:
    assert getattr(luthier, name).__name__ == name


def test_the_names_are_sorted_and_listed() -> None:
    assert luthier.__all__ == sorted(luthier.__all__)
    assert set(luthier.__all__) <= set(dir(luthier))


def test_every_error_is_public() -> None:
    raised = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert raised <= set(luthier.__all__)


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fine_tune'"):
        _ = luthier.fine_tune
