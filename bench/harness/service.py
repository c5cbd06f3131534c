"""A server that a program of bench/ starts for itself, the memory of its processes, and sides that stay ready."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from harness.output import ROOT

ENGINE = "luthier.serve.engines.process"
MODEL = "smollm2-135m-instruct"
END_SECONDS = 40


@dataclass(frozen=True)
class Service:
    """A gateway on a port of its own, with a home of its own."""

    url: str
    """Ends with /v1."""
    process: psutil.Process
    home: Path

    def engines(self) -> list[psutil.Process]:
        """The processes of its engines that live."""
        found = []
        for child in self.process.children(recursive=True):
            try:
                if ENGINE in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child)
            except psutil.Error:
                continue
        return found


@contextmanager
def home_of(models: Path | None) -> Iterator[Path]:
    """A home for one program; `models` is a folder in which converted models are kept between programs."""
    with tempfile.TemporaryDirectory(prefix="luthier-bench-") as scratch:
        if models is not None:
            models.mkdir(parents=True, exist_ok=True)
            (Path(scratch) / "cache").mkdir()
            (Path(scratch) / "cache" / "models").symlink_to(models.absolute())
        yield Path(scratch)


@contextmanager
def serving(home: Path, *options: str, places: int | None = None) -> Iterator[Service]:
    """`luthier serve` with these options, once it answers; ended, and its traces written, at the end of the block.

    `places`: how many requests an engine is handed at a time, where it is not to be the usual number.
    """
    command = [sys.executable, str(ROOT / "bench" / "sides" / "gateway.py"), str(places or 0), "serve", "--port", "0",
               "--json", *options]  # fmt: skip
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends with this program
    log = (home / "server.log").open("a")
    child = subprocess.Popen(command, env=environment() | {"LUTHIER_HOME": str(home)}, stdout=subprocess.PIPE,
                             stderr=log, text=True, start_new_session=True)  # fmt: skip
    try:
        line = child.stdout.readline() if child.stdout else ""
        if not line:
            raise SystemExit(f"the server did not start: {(home / 'server.log').read_text()[-2000:]}")
        yield Service(json.loads(line)["url"], psutil.Process(child.pid), home)
    finally:
        _end(child)
        log.close()


def _end(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


@contextmanager
def standing(program: str, job: Mapping[str, Any]) -> Iterator[Callable[[Mapping[str, Any]], Any]]:
    """A program of bench/sides that stays ready: a line of JSON in, a line of JSON out; `job` is its first line."""
    child = subprocess.Popen([sys.executable, str(ROOT / "bench" / "sides" / program)], env=environment(),
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip

    def ask(wish: Mapping[str, Any]) -> Any:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(wish) + "\n")
        child.stdin.flush()
        answer = child.stdout.readline()
        if not answer:
            raise SystemExit(f"{program} ended with code {child.wait()}")
        return json.loads(answer)

    try:
        ask(job)
        yield ask
    finally:
        child.kill()
        child.wait()


def environment() -> dict[str, str]:
    """That of the programs which are measured."""
    paths = [str(ROOT / "bench"), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "HF_HUB_OFFLINE": "1"}


def packaged_gguf() -> str:
    """The file of the packaged model."""
    from importlib.util import find_spec

    from luthier.models.packaged import PACKAGED

    package, _, inside = PACKAGED[MODEL].inside.partition("/")
    spec = find_spec(package)
    assert spec is not None
    return str(Path((spec.submodule_search_locations or [""])[0]) / inside)
