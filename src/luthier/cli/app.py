"""The command line as a whole: its verbs, and how each way of ending becomes an exit code.

0    done; a verdict of "hold" is still done
1    a bug, or a fit that could not go on
2    the user's input is wrong: one paragraph says what, where and how to mend it
130  interrupted; the same command goes on from there
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.main import get_command

from luthier.cli import (
    chat,
    check,
    clean,
    compare,
    cycle,
    data,
    demo,
    doctor,
    evaluate,
    export,
    feedback,
    init,
    jobs,
    keys,
    methods,
    models,
    run,
    runs,
    serve,
    train,
    up,
)
from luthier.cli.group import Group
from luthier.cli.screen import one_line
from luthier.errors import LuthierError

SUMMARY = "Fine-tune open models on your own hardware, and prove that they got better."
SECTIONS: dict[str, dict[str, Any]] = {
    "From data to model": {
        "init": init.init,
        "check": check.check,
        "run": run.run,
        "train": train.train,
        "evaluate": evaluate.evaluate,
        "compare": compare.compare,
    },
    "A model in service": {
        "up": up.up,
        "serve": serve.serve,
        "chat": chat.chat,
        "export": export.export,
        "keys": keys.app,
        "jobs": jobs.app,
    },
    "What there is": {"runs": runs.app, "models": models.app, "data": data.app, "methods": methods.methods},
    "Learning from use": {"feedback": feedback.app, "cycle": cycle.cycle},
    "This machine": {"demo": demo.demo, "doctor": doctor.doctor, "clean": clean.clean},
}


def build() -> Any:
    """The command line as a Click group."""
    app = typer.Typer(name="luthier", cls=Group, help=SUMMARY, add_completion=False, rich_markup_mode=None)
    app.callback()(root)
    for section, verbs in SECTIONS.items():
        for name, verb in verbs.items():
            if isinstance(verb, typer.Typer):
                app.add_typer(verb, name=name, rich_help_panel=section)
            else:
                app.command(name, rich_help_panel=section)(verb)
    command: Any = get_command(app)
    command.commands = {name: command.commands[name] for verbs in SECTIONS.values() for name in verbs}
    return command


def show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"luthier {version('luthier')}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", help="Show the version and exit.", callback=show_version, is_eager=True),
]


def root(version: Version = False) -> None:
    """What stands before the verb."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's own) and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        command = build()
        with command.make_context("luthier", list(words)) as context:
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as done:
        return done.exit_code
    except typer.TyperException as misuse:
        return refuse(misuse.format_message(), "", help_hint(misuse), words, misuse.exit_code)
    except LuthierError as error:
        return refuse(error.what, error.where, error.mend, words, error.exit_code)
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        if not reader_left(sys.stdout) and not reader_left(sys.stderr):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def refuse(what: str, where: str, mend: str, words: list[str], exit_code: int) -> int:
    """Say in one paragraph on stderr what is wrong; where a program reads stdout, as JSON there too."""
    print(f"error: {one_line(LuthierError(what, where, mend))}", file=sys.stderr)
    if "--json" in words:
        import json

        print(json.dumps({"error": {"what": what, "where": where, "mend": mend}}, ensure_ascii=False, indent=2))
    return exit_code


def help_hint(misuse: typer.TyperException) -> str:
    context = getattr(misuse, "ctx", None)
    return f"See `{context.command_path} --help`" if context else ""


def reader_left(stream: Any) -> bool:
    """Whether whoever read this pipe has closed it, as `head` does."""
    poll = select.poll()
    poll.register(stream.fileno(), select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))
