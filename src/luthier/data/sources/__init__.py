"""From a data entry to examples: own strict readers, one table of formats, every row checked."""

from luthier.data.sources.source import Source, read

__all__ = ["Source", "read"]
