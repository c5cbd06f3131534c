from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from luthier.cli.options import AsJson
from luthier.cli.screen import bullets, emit, facts, heading, table

Network = Annotated[bool, typer.Option("--network", help="Ask the Hugging Face hub, too.")]


Measure = Annotated[bool, typer.Option("--measure", help="Have each model answer, and measure how fast.")]


def doctor(network: Network = False, measure: Measure = False, as_json: AsJson = False) -> None:
    """Show what is wrong here, and what this machine can train."""
    from luthier.cli.progress import notes
    from luthier.jobs.doctor import examine
    from luthier.store import Home

    document = examine(Home.open(), network=network, measure=measure, note=notes(as_json))
    emit(document, as_json, show)
    if not document["healthy"]:
        raise typer.Exit(1)


def show(document: Mapping[str, Any]) -> None:
    """Problems last, where a terminal leaves the eye."""
    from luthier.evaluate.report.numbers import fixed, size

    facts((name, document[name]) for name in ("luthier", "python", "torch", "transformers", "peft"))
    heading("Machine")
    facts(
        [
            ("cpu", f"{document['cpu']}, {document['cores']} cores"),
            ("device", document["device"]),
            ("memory", f"{size(document['memory_bytes'])}, {size(document['free_memory_bytes'])} free"),
            ("speed", f"{fixed(document['gemm_gflops'], 0)} GFLOP/s (fp32 matrix product)"),
            ("bf16", document["bf16"]),
        ],
        wrap=True,
    )
    heading("Home")
    facts(
        [
            ("folder", f"{document['home']}, {size(document['free_disk_bytes'])} free"),
            ("database", document["database"]),
            ("blobs", document["blobs"]),
        ]
    )
    show_models(document)
    show_answering(document["answering"])
    show_extras(document["extras"])
    if document["unfinished"]:
        heading("Runs that are not finished; the same command takes them up again")
        table(["run", "command"], [(run["run_id"], run["command"]) for run in document["unfinished"]])
    show_problems(document["problems"])


def show_models(document: Mapping[str, Any]) -> None:
    """Each way to train each base; a name is written once."""
    from luthier.evaluate.report.numbers import count, size

    heading("What can be trained here")
    rows, last = [], ""
    for can in document["training"]:
        name = "" if can["model"] == last else can["model"]
        last = can["model"]
        speed = count(can["tokens_per_second"]) if can["fits"] else "too large"
        rows.append((name, can["method"], size(can["memory_bytes"]), speed))
    if not rows:
        print("no base model is at hand")
        return
    table(["base", "what is trained", "memory", "tokens/s"], rows, right=["memory", "tokens/s"])
    facts([("", f"forecast for {document['assumed']}; `luthier check` looks at your own")], wrap=True)


def show_answering(measured: list[Mapping[str, Any]]) -> None:
    """What was measured; without `--measure`, how to do so."""
    from luthier.evaluate.report.numbers import count, size

    heading("What can be served here")
    if not measured:
        print("`luthier doctor --measure` has each model answer, and says how fast it is")
        return
    columns = ["model", "engine", "memory", "tokens/s", "8 at once"]
    rows = [
        (each["model"], each["engine"], size(each["memory_bytes"]), count(each["tokens_per_second"]),
         count(each["together_tokens_per_second"]))
        for each in measured
    ]  # fmt: skip
    table(columns, rows, right=columns[2:])


def show_extras(extras: list[Mapping[str, Any]]) -> None:
    """What is there; and what is not, with the command that brings it."""
    there, absent = [e for e in extras if e["installed"]], [e for e in extras if not e["installed"]]
    if there:
        heading("Extras")
        facts([(e["name"], e["for"]) for e in there], wrap=True)
    if absent:
        heading("Extras that are not installed")
        table(["extra", "to install it", "for"], [(e["name"], e["install"], e["for"]) for e in absent])


def show_problems(problems: list[Mapping[str, Any]]) -> None:
    """What must be mended first."""
    if not problems:
        print("\nNothing is wrong.")
        return
    heading("Problems")
    bullets(f"{'must be mended: ' if p['needed'] else ''}{p['what']}. {sentence(p['mend'])}" for p in problems)


def sentence(text: str) -> str:
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."
