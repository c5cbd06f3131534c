"""A process that works on the jobs of a home: `python -m luthier.jobs.tuning_process HOME validate|fit`.

`validate` checks the jobs that wait for it, one after the other. `fit` takes the device, does the next job, and ends.
It ends at once when its stdin closes, which happens when the server that started it dies; on SIGTERM the run is left
after its step, and the job stays as it is, for whoever claims it next.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from luthier.errors import StoreError
from luthier.jobs.tuning import KIND, is_here
from luthier.jobs.worker import end_with_parent
from luthier.store import Home, jobs, runs
from luthier.store.files import Lock, held
from luthier.store.jobs import Job, Note, WrongState

LOOK_SECONDS = 0.5
"""How often it is looked whether somebody wants the job cancelled or paused."""
NICENESS = 5
"""Answers to chats come first."""


def main() -> int:
    """0: done or nothing to do; 130: stopped."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    os.nice(NICENESS)
    home = Home.open(Path(sys.argv[1]))
    try:
        {"validate": validate_all, "fit": fit_next}[sys.argv[2]](home)
    except KeyboardInterrupt:
        return 130
    return 0


def validate_all(home: Home) -> None:
    """Validate jobs until none waits."""
    from luthier.jobs.tuning_check import validate

    while True:
        with claimed(home, "validating_files") as job:
            if job is None:
                return
            _guarded(home, job, validate)


def fit_next(home: Home) -> None:
    """Do the job that another process has left, or the first in the queue; nothing where the device is taken."""
    from luthier.jobs.tuning_fit import fit

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as device:
        try:
            device.enter_context(Lock(jobs.device_lock(home)))
        except StoreError:
            return
        with claimed(home, "cancelling", "running", "queued") as job:
            if job is None:
                return
            if job.status == "running":
                _interruptible(home, job, fit)
            _obey(home, job.id)


@contextmanager
def claimed(home: Home, *statuses: jobs.Status) -> Iterator[Job | None]:
    """The first job in one of these states that no other process holds, held; None where there is none."""
    with ExitStack() as locks:

        def take(job_id: str) -> bool:
            path = jobs.lock_path(home, job_id)
            if held(path) or (statuses != ("validating_files",) and not is_here(home, job_id)):
                return False
            locks.enter_context(Lock(path))
            return True

        yield jobs.claim(home, KIND, statuses, take, {"queued": "running"})


def _interruptible(home: Home, job: Job, work: Callable[[Home, Job], None]) -> None:
    """Do the work, unless somebody wants the job to stop. Raises KeyboardInterrupt where the server stops."""
    done = threading.Event()
    watch = threading.Thread(target=_watch, args=(home, job.id, done), daemon=True)
    watch.start()
    try:
        _guarded(home, job, work)
    except KeyboardInterrupt:
        if not _wanted(home, job.id):
            raise
    finally:
        done.set()


def _guarded(home: Home, job: Job, work: Callable[[Home, Job], None]) -> None:
    """Do the work; what is written to stdout and stderr meanwhile goes to the job's log. A bug ends the job."""
    with (jobs.job_folder(home, job.id) / "log").open("ab") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    try:
        work(home, job)
    except WrongState:
        return  # it was cancelled meanwhile
    except Exception as error:
        traceback.print_exc()
        what = f"the server failed at it ({type(error).__name__}); the log of the job says more"
        cause = {"code": "internal_error", "message": what, "param": None}
        jobs.move(home, job.id, "failed", Note(what, "error"), error=cause)


def _watch(home: Home, job_id: str, done: threading.Event) -> None:
    while not done.wait(LOOK_SECONDS):
        if _wanted(home, job_id):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            return


def _wanted(home: Home, job_id: str) -> bool:
    """Whether the job is to stop."""
    job = jobs.get(home, job_id)
    return job.status == "cancelling" or (job.status == "running" and job.control == "pause")


def _obey(home: Home, job_id: str) -> None:
    """Bring a job whose work was left to the state that somebody wants."""
    job = jobs.get(home, job_id)
    if job.status == "cancelling":
        if job.run_id is not None:
            runs.abandon(home, job.run_id)
        jobs.move(home, job_id, "cancelled", Note("The job was cancelled"), control=None)
    elif job.status == "running" and job.control == "pause":
        jobs.move(home, job_id, "paused", Note("The job is paused"), control=None)


if __name__ == "__main__":
    sys.exit(main())
