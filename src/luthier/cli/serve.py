from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Annotated, Any, Literal

import typer

from luthier.cli.options import AsJson
from luthier.cli.screen import emit, facts, heading
from luthier.errors import MissingExtra

Served = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", help="Opened at once: a registered model or a base.", show_default=False),
]
Host = Annotated[str, typer.Option("--host", help="The address to listen on; others than this machine's need a key.")]
Port = Annotated[int, typer.Option("--port", help="0 is any free one.")]
Engine = Annotated[
    Literal["torch", "llama_cpp"] | None,
    typer.Option(
        "--engine",
        help="By default torch, or llama.cpp where an export found that it says the same.",
        show_default=False,
    ),
]
Redact = Annotated[
    Literal["off", "patterns", "content"],
    typer.Option("--redact", help="What traces leave out: nothing; addresses, numbers and keys; all texts."),
]
Queue = Annotated[int, typer.Option("--queue", min=0, help="Requests that may wait for an engine; more are refused.")]
Timeout = Annotated[float, typer.Option("--timeout", min=1, help="Seconds that an answer may take.")]


def serve(
    model: Served = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    engine: Engine = None,
    redact: Redact = "off",
    queue: Queue = 128,
    timeout: Timeout = 600,
    as_json: AsJson = False,
) -> None:
    """Answer OpenAI's clients with the models of this home."""
    run(model, host, port, engine, redact, queue, timeout, as_json, jobs=False)


def run(
    model: str | None, host: str, port: int, engine: Any, redact: Any, queue: int, timeout: float, as_json: bool,
    jobs: bool,
) -> None:  # fmt: skip
    """Serve until a signal comes; with `jobs`, have the jobs of the home done meanwhile."""
    require_extra()
    from luthier.api import server
    from luthier.api.app import State
    from luthier.api.auth import is_local
    from luthier.jobs.deploy import open_deck
    from luthier.serve.trace import Tracer
    from luthier.store import Home

    home = Home.open()
    listening = server.listen(home, host, port)
    more = [model] if model and os.path.isdir(model) else []
    deck = open_deck(home, more=more, engine=engine, waiting=queue, note=note)
    state = State(home, deck, Tracer(home, redact), local_only=is_local(host), timeout_seconds=timeout)
    address = listening.getsockname()
    about = {"url": f"http://{host if ':' not in host else f'[{host}]'}:{address[1]}/v1", "pid": os.getpid(),
             "home": str(home.root), "model": model, "jobs": jobs}  # fmt: skip
    with working(home) if jobs else nullcontext():
        server.serve(state, listening, model, lambda: announce(home, state, about, as_json))


def require_extra() -> None:
    from importlib.util import find_spec

    for package in ("fastapi", "uvicorn", "prometheus_client"):
        if find_spec(package) is None:
            raise MissingExtra(f"a server needs {package}", mend="pip install 'luthier[serve]'")


def working(home: Any) -> Any:
    from luthier.jobs.scheduler import scheduling

    return scheduling(home)


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def announce(home: Any, state: Any, about: Mapping[str, Any], as_json: bool) -> None:
    from luthier.serve.routing import names
    from luthier.store import keys

    known = list(names(home, state.deck.routes.bases()))
    engines = [berth.spec["engine"] for berth in state.deck.berths()]
    document = {**about, "model": about["model"] or next(iter(known), None), "models": known, "engines": engines,
                "keys": len(keys.live(home))}  # fmt: skip
    if as_json:
        import json

        print(json.dumps(document, ensure_ascii=False), flush=True)
    else:
        emit(document, False, show)
        sys.stdout.flush()


def show(document: Mapping[str, Any]) -> None:
    url, model, site = document["url"], document["model"], document["url"].removesuffix("/v1")
    secret = "YOUR_KEY" if document["keys"] else "none"
    facts(
        [
            ("url", url),
            ("model", f"{model} ({', '.join(document['engines'])})" if document["engines"] else model),
            ("models", f"{len(document['models'])}: {url}/models"),
            ("keys", f"{document['keys']}, one must be shown" if document["keys"] else
             "none: this machine's programs may ask; `luthier keys create NAME` makes one"),
            ("jobs", "fine-tuning jobs are done" if document["jobs"] else "waiting jobs stay; `luthier up` does them"),
            ("home", document["home"]),
            ("look", f"{site}/health  {site}/metrics"),
        ]
    )  # fmt: skip
    heading("From Python, with `pip install openai`")
    print(f"""
from openai import OpenAI

client = OpenAI(base_url="{url}", api_key="{secret}")
reply = client.chat.completions.create(model="{model}", messages=[{{"role": "user", "content": "Hello"}}])
print(reply.choices[0].message.content)

Ctrl-C ends the server.""")
