"""The command line: one file per verb; a verb parses, calls its job and prints."""

from luthier.cli.app import main

__all__ = ["main"]
