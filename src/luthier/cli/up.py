from __future__ import annotations

from luthier.cli import serve
from luthier.cli.options import AsJson


def up(
    model: serve.Served = None,
    host: serve.Host = "127.0.0.1",
    port: serve.Port = 8000,
    engine: serve.Engine = None,
    redact: serve.Redact = "off",
    queue: serve.Queue = 128,
    timeout: serve.Timeout = 600,
    as_json: AsJson = False,
) -> None:
    """Put a model into service, and do the jobs that clients start."""
    serve.run(model or default_model(), host, port, engine, redact, queue, timeout, as_json, jobs=True)


def default_model() -> str | None:
    """The newest version that an alias points at, else the newest version, else the packaged chat model."""
    from luthier.registry import aliases, versions
    from luthier.store import Home

    home = Home.open()
    moves = aliases.history(home)
    if moves:
        return f"{moves[-1].name}@{moves[-1].alias}"
    known = sorted(versions.list_versions(home), key=lambda version: version.created_at)
    return known[-1].ref if known else "smollm2-135m-instruct"
