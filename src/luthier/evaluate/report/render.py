"""The run document as one HTML page that needs nothing else: no network, no script to be read."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from luthier.evaluate.report.answers import answers
from luthier.evaluate.report.beside import beside
from luthier.evaluate.report.comparison import comparison, slices
from luthier.evaluate.report.data import data
from luthier.evaluate.report.forgetting import forgetting
from luthier.evaluate.report.learning import learning
from luthier.evaluate.report.numbers import DASH, count, duration
from luthier.evaluate.report.provenance import environment, lineage, reproduction, settings, warnings
from luthier.evaluate.report.reading import Document, part
from luthier.evaluate.report.spending import spending
from luthier.evaluate.report.verdict import run_date, verdict
from luthier.store.files import write_atomic

HERE = Path(__file__).parent
COPY_SCRIPT = Markup("""
for (const button of navigator.clipboard ? document.querySelectorAll("button[data-copy]") : []) {
  button.hidden = false;
  button.onclick = async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  };
}
""")


def write_report(document: Document, path: Path) -> None:
    """Writes the page of one run, replacing `path` in one move; `document` is what `luthier run --json` has.

    Raises OSError where `path` cannot be written.
    """
    write_atomic(path, render_report(document))


def render_report(document: Document) -> str:
    """The page as text. Any part of the document may be missing: the page then says so, and why."""
    return _template().render(
        style=_style(),
        script=COPY_SCRIPT,
        script_hash=base64.b64encode(hashlib.sha256(COPY_SCRIPT.encode()).digest()).decode(),
        head=_head(document),
        verdict=verdict(document),
        comparison=comparison(document),
        slices=slices(document),
        answers=answers(document),
        beside=beside(document),
        forgetting=forgetting(document),
        learning=learning(document),
        data=data(document),
        settings=settings(document),
        spending=spending(document),
        environment=environment(document),
        lineage=lineage(document),
        warnings=warnings(document),
        reproduction=reproduction(document),
    )


def _head(document: Document) -> dict[str, Any]:
    facts = [
        (
            "Base model",
            part(document, "lineage").get("base_model") or part(document, "recipe").get("base_model"),
        ),
        ("Task", document.get("task")),
        ("Dataset", document.get("dataset_version")),
        ("In service before", document.get("in_service")),
        ("Held-out items", count(part(document, "data", "splits").get("test"))),
        ("Wall-clock time", duration(document.get("wall_seconds"))),
    ]
    return {
        "title": str(document.get("model") or document.get("name") or document.get("run_id") or "Unnamed run"),
        "run_id": str(document.get("run_id") or ""),
        "date": run_date(document.get("run_id")),
        "facts": [(name, str(value)) for name, value in facts if value not in (None, DASH)],
    }


def prose(text: str) -> Markup:
    """Plain text as HTML; what stands between two backticks becomes code."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        return Markup("{}").format(text)
    return Markup("").join(
        Markup("<code>{}</code>" if odd % 2 else "{}").format(piece) for odd, piece in enumerate(pieces)
    )


@cache
def _template() -> Template:
    loader = FileSystemLoader(HERE)
    page = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters["prose"] = prose
    return page.get_template("report.html.jinja")


@cache
def _style() -> Markup:
    return Markup((HERE / "style.css").read_text(encoding="utf-8"))
