"""The working processes of a run: started, listened to, and ended together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import luthier.errors as errors
from luthier.engine.allocator import preload
from luthier.engine.place import RENDEZVOUS, launched, number
from luthier.errors import LuthierError, TrainingError
from luthier.jobs.reporting import Reporter
from luthier.jobs.worker import LOST
from luthier.store import Home, runs
from luthier.store.files import Lock

PATIENCE_SECONDS = 60
"""How long an interrupted fit may take to finish its step and write its checkpoint."""
GRACE_SECONDS = 10
"""How long the process that leads may go on after another has failed: on a CPU it notices by itself, on GPUs not."""
PREPARED = timedelta(hours=12)
"""How long the processes of torchrun wait for the first one to prepare the run."""
Children = Sequence["subprocess.Popen[str]"]
Errors = dict[int, dict[str, Any]]


def follow(home: Home, reporter: Reporter) -> None:
    """In a process that torchrun started, and not as the first: start its working process for the first one's run."""
    code = _work(home, _store().get(_key()).decode(), reporter, [{}], ())
    if code:
        raise _gone(number(), launched(), code)


def work(home: Home, run_id: str, reporter: Reporter, lock: Lock, count: int) -> int:
    """Start `count` working processes and pass the first one's events on; its exit code.

    Where torchrun started this process, only its own is started, and the others are told of the run, which they must
    find in the same home. The lock is held until all have ended.
    Raises what any of them reports, and TrainingError where one ended that should not have.
    """
    reporter.event("note", "starting the working process" + ("es" if count > 1 else ""), {})
    if launched() > 1:
        _store().set(_key(), run_id)
        return _work(home, run_id, reporter, [{}], (lock.fileno(),))
    with tempfile.TemporaryDirectory() as meeting:
        return _work(home, run_id, reporter, [_place(i, count, meeting) for i in range(count)], (lock.fileno(),))


def _work(
    home: Home, run_id: str, reporter: Reporter, places: Sequence[Mapping[str, str]], files: Sequence[int]
) -> int:  # fmt: skip
    command = [sys.executable, "-m", "luthier.jobs.worker", str(home.root), run_id]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
                         pass_fds=files, env={**os.environ, **preload(), **place})
        for place in places
    ]  # fmt: skip
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


def _attend(children: Children, reporter: Reporter) -> tuple[int, Errors, dict[int, int]]:
    """The first one's exit code; by rank, the errors that were reported, and the exit codes of others that failed."""
    leader, *followers = children
    told: Errors = {}
    watches = [threading.Thread(target=_watch, args=(child, leader, told, rank)) for rank, child in _from_1(followers)]
    for watch in watches:
        watch.start()
    try:
        assert leader.stdout is not None
        for line in leader.stdout:
            event = json.loads(line)
            if event["kind"] == "error":
                told[0] = event
            else:
                reporter.event(event["kind"], event["message"], event["data"])
        code = leader.wait()
        ended = {rank: child.poll() for rank, child in _from_1(followers)}
    except KeyboardInterrupt:
        _end(leader)
        raise
    finally:
        for child in children:
            assert child.stdin is not None
            child.stdin.close()
        for watch in watches:
            watch.join()
    return code, told, {rank: found for rank, found in ended.items() if found not in (None, 0, LOST)}


def _from_1(followers: Children) -> list[tuple[int, subprocess.Popen[str]]]:
    return list(enumerate(followers, start=1))


def _watch(child: subprocess.Popen[str], leader: subprocess.Popen[str], told: Errors, rank: int) -> None:
    """Listen to another process than the first, and end the first where it fails."""
    assert child.stdout is not None
    for line in child.stdout:
        told[rank] = json.loads(line)  # nothing else is told by others than the first
    if child.wait() == 0:
        return
    deadline = time.monotonic() + GRACE_SECONDS
    while leader.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    leader.kill()


def _end(leader: subprocess.Popen[str]) -> None:
    leader.terminate()
    try:
        leader.wait(PATIENCE_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        leader.kill()


def _reported(event: Mapping[str, Any]) -> LuthierError:
    part = event["data"]
    return getattr(errors, part["type"])(part["what"], part["where"], part["mend"])


def _gone(rank: int, count: int, code: int | None) -> TrainingError:
    return TrainingError(
        f"process {rank} of 0 to {count - 1} ended with code {code}, and the others with it", "machine.num_processes",
        "Its messages stand above; the same command goes on from the last checkpoint",
    )  # fmt: skip
