from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from luthier.cli.group import group
from luthier.cli.options import AsJson
from luthier.cli.screen import bullets, emit, facts, heading, table, when
from luthier.errors import DataError

LONG = 60
Trace = Annotated[
    str | None,
    typer.Argument(metavar="TRACE", help="The id of the completion that is judged.", show_default=False),
]


def option(name: str, help: str) -> Any:
    return typer.Option(name, help=help, show_default=False)


def show_all(
    trace: Annotated[str | None, option("--trace", "Only what was said of this completion.")] = None,
    kind: Annotated[
        str | None, option("--kind", "Only ratings, corrections, choices or labels: rating, correction …")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most this many, the newest.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List what people said of answers, newest first."""
    from luthier.store import Home, feedback

    rows, more = feedback.list_page(Home.open(), trace_id=trace, kind=kind, limit=limit)
    emit({"feedback": [asdict(row) for row in rows], "has_more": more}, as_json, show_list)


def show_list(document: Mapping[str, Any]) -> None:
    if not document["feedback"]:
        print("no feedback yet; clients send it to /v1/feedback, people add it with: luthier feedback add TRACE")
        return
    rows = [
        (row["id"], when(row["created_at"]), row["kind"], row["rater"] or "", row["review"] or "", said(row))
        for row in document["feedback"]
    ]
    table(["id", "when (UTC)", "kind", "rater", "review", "what"], rows)
    if document["has_more"]:
        print("and more: --limit shows them")


def said(row: Mapping[str, Any]) -> str:
    """What a row says, in a few words."""
    value = row["value"]
    texts = {
        "rating": lambda: str(value["rating"]),
        "correction": lambda: value["message"].get("content") or "calls a tool",
        "label": lambda: value.get("label") or ", ".join(value["labels"]),
        "choice": lambda: f"{named(value['chosen'])} before {', '.join(map(named, value['rejected']))}",
    }
    text = texts[row["kind"]]()
    return text if len(text) <= LONG else f"{text[:LONG]}…"


def named(answer: Mapping[str, Any]) -> str:
    """An answer of a choice."""
    if "text" in answer:
        return repr(answer["text"])
    place = f"of {answer['trace_id']}" if "trace_id" in answer else ""
    return f"answer {answer['index']} {place}".rstrip()


def add(
    trace: Trace = None,
    rating: Annotated[str | None, option("--rating", "up, down, or 1 to 5.")] = None,
    correction: Annotated[str | None, option("--correction", "What should have been said.")] = None,
    label: Annotated[str | None, option("--label", "What the text should be labelled.")] = None,
    index: Annotated[int, typer.Option("--index", min=0, help="Which of the completion's choices.")] = 0,
    rater: Annotated[str | None, option("--rater", "Who says so.")] = None,
    comment: Annotated[str | None, option("--comment", "Why.")] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="JSON Lines, one piece of feedback each, as /v1/feedback takes it."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what you think of an answer, or read it from a file."""
    from luthier.jobs.learn import add as store
    from luthier.store import Home

    given = {"rating": rating, "correction": correction, "label": label}
    kinds = [kind for kind, value in given.items() if value is not None]
    if (file is None and (trace is None or len(kinds) != 1)) or (file is not None and (trace is not None or kinds)):
        mend = "Give TRACE and one of --rating, --correction and --label, or --file alone"
        raise DataError("this says nothing, or too much at once", "feedback add", mend)
    items = None
    if file is None:
        value = as_rating(rating) if rating is not None else given[kinds[0]]
        item = {"trace_id": trace, "kind": kinds[0], "value": value, "rater": rater, "comment": comment}
        items = [item | {"index": index} if kinds[0] != "label" else item]
    rows = store(Home.open(), items, file)
    emit({"feedback": rows}, as_json, lambda document: print(f"{len(document['feedback'])} stored"))


def as_rating(text: str) -> Any:
    """A number where one was given."""
    return int(text) if text.isdecimal() else text


Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="Whose answers: name, name@3, name@alias.", show_default=False)
]
Reviewed = Annotated[bool, typer.Option("--reviewed", help="Learn only from what `luthier feedback review` accepted.")]
Personal = Annotated[
    Literal["keep", "redact", "drop"] | None,
    option("--personal", "What looks personal or secret: by default as the model's own rows were handled."),
]
AcceptRated = Annotated[bool, typer.Option("--accept-rated", help="Learn answers that are rated high, too.")]


def ids(name: str, help: str) -> Any:
    return typer.Option(name, metavar="ID", help=f"{help} May be repeated.", default_factory=list, show_default=False)


def review(
    model: Model,
    accept: Annotated[list[str], ids("--accept", "Accept this feedback.")],
    reject: Annotated[list[str], ids("--reject", "Never learn from this feedback.")],
    as_json: AsJson = False,
) -> None:
    """Show what nobody has looked at yet, or accept and reject it."""
    from luthier.jobs import learn
    from luthier.store import Home

    home = Home.open()
    decided = learn.decide(home, accept, reject) if accept or reject else {}
    emit(decided | {"pending": learn.pending(home, model)}, as_json, show_pending)


def show_pending(document: Mapping[str, Any]) -> None:
    for name in ("accepted", "rejected"):
        if document.get(name):
            print(f"{name}: {', '.join(document[name])}")
    for row in document["pending"]:
        heading(row["id"])
        told = [("asked", row["question"]), ("answered", row["answer"]), (row["kind"], said(row)),
                ("rater", row["rater"]), ("comment", row["comment"])]  # fmt: skip
        facts((f"  {name}", value) for name, value in told)
    if not document["pending"]:
        print("nothing is waiting for a review")


def curate(
    model: Model,
    accept_rated: AcceptRated = False,
    reviewed: Reviewed = False,
    personal: Personal = None,
    as_json: AsJson = False,
) -> None:
    """Turn feedback into dataset versions that a recipe can name."""
    from luthier.feedback.curate import Wishes
    from luthier.jobs.learn import curate as make
    from luthier.store import Home

    emit(make(Home.open(), model, Wishes(accept_rated, reviewed, personal)), as_json, show_curated)


def show_curated(document: Mapping[str, Any]) -> None:
    held = document["held_out"]
    facts(
        [
            ("model", document["model"]),
            ("feedback", document["feedback"]),
            ("held out", f"what the test and validation rows of {held} ask" if held else None),
            ("no answer", f"{document['without_answer']} of any model, whose traces were purged"
             if document["without_answer"] else None),
        ]
    )  # fmt: skip
    for made in document["datasets"]:
        heading(f"{TASKS[made['task']]}: {made['rows']} rows")
        show_task(made)


def show_task(made: Mapping[str, Any]) -> None:
    """The steps from feedback to rows, and how a recipe names them."""
    from luthier.cli.check import show_steps

    show_steps(made["steps"])
    bullets(made["notes"])
    if made["dataset"]:
        print(f"\nin a recipe: data: [..., {{path: dataset:{made['dataset']}}}]")
    else:
        print("\nno row is left, so nothing was written")


TASKS = {"generate": "Answers to learn", "preference": "Preference pairs", "classify": "Texts with labels"}
app = group(
    "What people say of answers, and what is learnt from it.",
    list=show_all,
    add=add,
    review=review,
    curate=curate,
)
