"""Dataset versions: added once, found by id."""

from __future__ import annotations

import pytest

from luthier.errors import NotFound
from luthier.store import Home, datasets


def test_a_version_is_added_once_and_found_by_prefix(home: Home) -> None:
    row = datasets.add(home, "ds-7c1e", {"parents": [], "rows": 3}, "tree")
    assert datasets.add(home, "ds-7c1e", {"parents": ["x"]}, "other") == row
    assert datasets.get(home, "ds-7c") == datasets.get(home, "ds-7c1e") == row
    assert (row.manifest, row.tree_sha) == ({"parents": [], "rows": 3}, "tree")


def test_several_are_listed_newest_first_and_one_must_be_meant(home: Home) -> None:
    first = datasets.add(home, "ds-7c", {}, "tree")
    second = datasets.add(home, "ds-7cff", {}, "tree")
    assert datasets.list(home) == [second, first]
    assert datasets.get(home, "ds-7c") == first
    with pytest.raises(NotFound, match="ids of several dataset versions"):
        datasets.get(home, "ds-")
    for ref in ("nosuch", ""):
        with pytest.raises(NotFound, match="luthier data versions"):
            datasets.get(home, ref)
