"""What each objective learns from: a file each, in one TABLE."""

from luthier.jobs.feeds.feed import Feed
from luthier.jobs.feeds.table import TABLE, feed_of

__all__ = ["TABLE", "Feed", "feed_of"]
