"""The page that shows what a run did and what it is worth: one run document in, one HTML file out."""

from luthier.evaluate.report.render import render_report, write_report

__all__ = ["render_report", "write_report"]
