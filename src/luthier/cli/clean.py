from __future__ import annotations

from luthier.cli.options import AsJson
from luthier.cli.screen import emit


def clean(as_json: AsJson = False) -> None:
    """Free the caches of the home; runs, models and datasets stay."""
    from luthier.evaluate.report.numbers import size
    from luthier.jobs.home import clean as purge
    from luthier.store import Home

    home = Home.open()
    freed = purge(home, "caches")
    emit({"home": str(home.root), "freed_bytes": freed}, as_json, lambda _: print(f"freed {size(freed)}"))
