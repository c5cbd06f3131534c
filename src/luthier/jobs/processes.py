"""The working processes of a run: started, listened to, and ended together.

A process takes seconds before it can work, most of them for torch: the one that leads is started while the run is
prepared, and told of the run when that has come to an end.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import luthier.errors as errors
from luthier.engine.allocator import preload
from luthier.engine.place import RENDEZVOUS, launched, number
from luthier.errors import LuthierError, TrainingError
from luthier.jobs.reporting import Reporter
from luthier.jobs.worker import LOST, MODULE, Orders
from luthier.store import Home, runs
from luthier.store.files import Lock

PATIENCE_SECONDS = 60
"""How long an interrupted fit may take to finish its step and write its checkpoint."""
GRACE_SECONDS = 10
"""How long the process that leads may go on after another has failed: on a CPU it notices by itself, on GPUs not."""
PREPARED = timedelta(hours=12)
"""How long the processes of torchrun wait for the first one to prepare the run."""
Errors = dict[int, dict[str, Any]]


class Child:
    """A working process that waits for its orders; it ends when this process does, or when it is let go."""

    def __init__(self, place: Mapping[str, str]) -> None:
        self._line, stdin = socket.socketpair()
        with stdin:
            self.process = subprocess.Popen(
                [sys.executable, "-m", MODULE], stdin=stdin.fileno(), stdout=subprocess.PIPE, text=True,
                start_new_session=True, env={**os.environ, **preload(), **place},
            )  # fmt: skip

    def begin(self, orders: Orders, files: Sequence[int]) -> None:
        """Have it work; it holds the files until it ends. That it has died already is seen from its exit code."""
        with suppress(BrokenPipeError):
            orders.say(self._line, files)

    def events(self) -> Iterator[dict[str, Any]]:
        """What it says, until it ends."""
        assert self.process.stdout is not None
        return map(json.loads, self.process.stdout)

    def let_go(self) -> None:
        """Have it end, and wait until it has."""
        self._line.close()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def end(self) -> None:
        """Interrupt it, and kill it where it goes on for too long."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self.process.kill()


@contextmanager
def waiting() -> Iterator[Child | None]:
    """The process that will lead the work, made ready meanwhile; None under torchrun, where each starts its own."""
    if launched() > 1:
        yield None
        return
    child = Child(_place(0, 1, ""))
    try:
        yield child
    finally:
        child.process.kill()  # it has ended, unless there is an error to tell of
        child.let_go()


def follow(home: Home, reporter: Reporter) -> None:
    """In a process that torchrun started, and not as the first: start its working process for the first one's run."""
    code = _work(home, _store().get(_key()).decode(), reporter, [Child({})], ())
    if code:
        raise _gone(number(), launched(), code)


def work(home: Home, run_id: str, reporter: Reporter, lock: Lock, count: int, ready: Child | None) -> int:
    """Start `count` working processes and pass the first one's events on; its exit code. One alone is `ready`.

    Where torchrun started this process, only its own is started, and the others are told of the run, which they must
    find in the same home. The lock is held until all have ended.
    Raises what any of them reports, and TrainingError where one ended that should not have.
    """
    if launched() > 1:
        _store().set(_key(), run_id)
        return _work(home, run_id, reporter, [Child({})], (lock.fileno(),))
    if count == 1 and ready is not None:
        return _work(home, run_id, reporter, [ready], (lock.fileno(),))
    if ready is not None:
        ready.process.kill()  # it does not know of the others
    reporter.event("note", "starting the working processes", {})
    with tempfile.TemporaryDirectory() as meeting:
        children = [Child(_place(i, count, meeting)) for i in range(count)]
        return _work(home, run_id, reporter, children, (lock.fileno(),))


def _work(home: Home, run_id: str, reporter: Reporter, children: Sequence[Child], files: Sequence[int]) -> int:
    for child in children:
        child.begin(Orders(home.root, run_id), files)
    code, told, gone = _attend(children, reporter)
    if code and told:
        if runs.get(home, run_id).status == "running":  # another than the first has found it
            runs.set_status(home, run_id, "failed")
        raise _reported(told[min(told)])
    if code and gone:
        raise _gone(min(gone), len(children), gone[min(gone)])
    return code


def _store() -> Any:
    """What all processes of one torchrun can read and write."""
    from torch.distributed import TCPStore

    return TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=PREPARED)


def _key() -> str:
    return f"luthier/run/{os.environ['TORCHELASTIC_RESTART_COUNT']}"


def _place(rank: int, count: int, meeting: str) -> dict[str, str]:
    """What tells a process which of how many it is, and where they meet."""
    place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    if count > 1:
        place[RENDEZVOUS] = (Path(meeting) / "ranks").as_uri()
        place["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    return place


def _attend(children: Sequence[Child], reporter: Reporter) -> tuple[int, Errors, dict[int, int]]:
    """The first one's exit code; by rank, the errors that were reported, and the exit codes of others that failed."""
    leader, *followers = children
    told: Errors = {}
    watches = [threading.Thread(target=_watch, args=(child, leader, told, rank)) for rank, child in _from_1(followers)]
    for watch in watches:
        watch.start()
    try:
        for event in leader.events():
            if event["kind"] == "error":
                told[0] = event
            else:
                reporter.event(event["kind"], event["message"], event["data"])
        code = leader.process.wait()
        ended = {rank: child.process.poll() for rank, child in _from_1(followers)}
    except KeyboardInterrupt:
        leader.end()
        raise
    finally:
        for watch in watches:
            watch.join()
        for child in children:
            child.let_go()
    return code, told, {rank: found for rank, found in ended.items() if found not in (None, 0, LOST)}


def _from_1(followers: Sequence[Child]) -> list[tuple[int, Child]]:
    return list(enumerate(followers, start=1))


def _watch(child: Child, leader: Child, told: Errors, rank: int) -> None:
    """Listen to another process than the first, and end the first where it fails."""
    for event in child.events():
        told[rank] = event  # nothing else is told by others than the first
    if child.process.wait() == 0:
        return
    deadline = time.monotonic() + GRACE_SECONDS
    while leader.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    leader.process.kill()


def _reported(event: Mapping[str, Any]) -> LuthierError:
    part = event["data"]
    return getattr(errors, part["type"])(part["what"], part["where"], part["mend"])


def _gone(rank: int, count: int, code: int | None) -> TrainingError:
    return TrainingError(
        f"process {rank} of 0 to {count - 1} ended with code {code}, and the others with it", "machine.num_processes",
        "Its messages stand above; the same command goes on from the last checkpoint",
    )  # fmt: skip
