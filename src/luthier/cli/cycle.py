from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.cli.feedback import AcceptRated, Reviewed
from luthier.cli.options import AsJson, Overrides, RecipePath
from luthier.cli.screen import bullets, emit, facts, heading


def cycle(
    recipe: RecipePath,
    overrides: Overrides,
    accept_rated: AcceptRated = False,
    reviewed: Reviewed = False,
    as_json: AsJson = False,
) -> None:
    """Learn from feedback; promote what beats what is in service.

    The same command on an unfinished cycle goes on with it.
    """
    from luthier.cli.progress import reporter
    from luthier.feedback.curate import Wishes
    from luthier.jobs.cycle import cycle as carry_out
    from luthier.store import Home

    with reporter(as_json) as progress:
        document = carry_out(recipe, overrides, Home.open(), progress, Wishes(accept_rated, reviewed))
    emit(document, as_json, show)


def show(document: Mapping[str, Any]) -> None:
    shown = {"nothing_new": show_nothing_new, "nothing_learnt": show_nothing_learnt}
    shown.get(document["outcome"], show_run)(document)


def show_nothing_new(document: Mapping[str, Any]) -> None:
    name, total = f"{document['model']}@{document['alias']}", document["feedback"]["total"]
    since = f"since cycle {document['cycles']}" if document["cycles"] else "so far"
    print(f"nothing new was said of the answers of {name} {since} ({total} pieces of feedback in all): nothing to do")


def show_nothing_learnt(document: Mapping[str, Any]) -> None:
    same = "the rows are those of the last cycle" if document["dataset"] else "no row is left"
    print(f"cycle {document['cycle']} of {document['model']}@{document['alias']}: {same}, so nothing was trained")
    show_feedback(document)


def show_run(document: Mapping[str, Any]) -> None:
    name, version, before = f"{document['model']}@{document['alias']}", document["version"], document["before"]
    word = "PROMOTED" if document["outcome"] == "promoted" else "HELD"
    stays = f"{document['in_service']} stays in service" if document["in_service"] else "nothing is in service"
    moved = f"{name} is {version} now (before: {before or 'nothing'})" if word == "PROMOTED" else stays
    print(f"{word}  cycle {document['cycle']}: {moved}")
    show_feedback(document)
    show_solvers(document)
    heading("Why")
    bullets(document["reasons"])
    if document["outcome"] == "held" and document["next"]:
        heading("Next")
        bullets(document["next"])
    print()
    facts([("report", document["report"]), ("run", document["run_id"]), ("to undo", document["undo"])])


def show_feedback(document: Mapping[str, Any]) -> None:
    """What became of the feedback, and of the rows made of it."""
    from luthier.cli.check import show_steps

    said = document["feedback"]
    rows = f"{document['rows']} in {document['dataset']}" if document["dataset"] else "none"
    print()
    facts([("feedback", f"{said['total']} pieces, {said['new']} of them new; rows rest on {said['used']}"),
           ("rows", rows), ("held out", f"those of {document['held_out']}")])  # fmt: skip
    show_steps([step for step in document["steps"] if step["dropped"]])
    bullets(document["notes"])


def show_solvers(document: Mapping[str, Any]) -> None:
    """The deciding metric of the version in service and of the new one, and the paired difference."""
    from luthier.evaluate.report.measures import measure
    from luthier.evaluate.report.numbers import p_value

    kind, against = measure(document["metric"]), (document["against_in_service"] or {}).get(document["metric"])
    unit = " points" if kind.unit == "share" else ""
    found = {name: scores.get(kind.name) for name, scores in document["solvers"].items()}
    named = [("in_service", document["before"]), ("tuned", document["version"])]
    shown = [(ref, f"{kind.show(found[name]['value'])} {kind.interval(found[name])}, n = {found[name]['n']}")
             for name, ref in named if ref and found.get(name)]  # fmt: skip
    if against:
        change = f"{kind.points(against['value'])}{unit} {kind.change_interval(against)}"
        shown.append(("difference", f"{change}, {p_value(against['p'])}"))
    heading(kind.title)
    facts(shown)
