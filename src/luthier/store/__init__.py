"""Where everything rests: blobs by hash, rows in a database. The only place that knows paths and SQL."""

from luthier.store.home import Home

__all__ = ["Home"]
