"""The part of a server that has jobs done: it starts a process where one waits, and has them end with itself.

Servers of one home need not know of each other: who holds a lock does the work.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from luthier.errors import LuthierError
from luthier.jobs.tuning import KIND, is_here
from luthier.store import Home, jobs
from luthier.store.files import held

LOOK_SECONDS = 0.5
REST_SECONDS = 5.0
"""How long nothing of a kind is started after a process of it has failed."""
STOP_SECONDS = 30.0
"""How long a fit may take to finish its step and write its checkpoint when the server stops."""


@contextmanager
def scheduling(home: Home) -> Iterator[None]:
    """Have the jobs of the home done while the block lasts."""
    stop = threading.Event()
    thread = threading.Thread(target=_attend, args=(home, stop), name="scheduler", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class Helper:
    """The one process of a kind, `validate` or `fit`, that this server runs at a time."""

    def __init__(self, home: Home, kind: str) -> None:
        self.home, self.kind = home, kind
        self.process: subprocess.Popen[bytes] | None = None
        self.rests_until = 0.0

    def look(self) -> None:
        """Start the process where there is something to do."""
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return
            self._close()
            self.rests_until = time.monotonic() + (REST_SECONDS if code else 0.0)
        if time.monotonic() >= self.rests_until and WANTED[self.kind](self.home):
            command = [sys.executable, "-m", "luthier.jobs.tuning_process", str(self.home.root), self.kind]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def stop(self) -> None:
        """End the process, after its step if it trains."""
        if self.process is None:
            return
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        self._close()

    def _close(self) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.process = None


def _attend(home: Home, stop: threading.Event) -> None:
    helpers = [Helper(home, kind) for kind in WANTED]
    while not stop.wait(LOOK_SECONDS):
        for helper in helpers:
            try:
                helper.look()
            except LuthierError as error:  # the database is busy or the disk full: later, perhaps not
                print(f"jobs: {error}", file=sys.stderr, flush=True)
                helper.rests_until = time.monotonic() + REST_SECONDS
    for helper in helpers:
        helper.stop()


def _to_validate(home: Home) -> bool:
    return any(_free(home, job.id) for job in jobs.waiting(home, KIND, ["validating_files"]))


def _to_fit(home: Home) -> bool:
    if held(jobs.device_lock(home)):
        return False
    waiting = jobs.waiting(home, KIND, ["cancelling", "running", "queued"])
    return any(is_here(home, job.id) and _free(home, job.id) for job in waiting)


def _free(home: Home, job_id: str) -> bool:
    return not held(jobs.lock_path(home, job_id))


WANTED = {"validate": _to_validate, "fit": _to_fit}
"""Kind of process → whether there is something for it to do."""
