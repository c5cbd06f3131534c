"""A process that does the work of a run: `python -m luthier.jobs.worker`, with a socket as its stdin.

It makes itself ready, and is told there which run it works on (`Orders`), together with a file to hold: the run's lock.
Of several, those whose RANK is above 0 take part in the fit and do nothing else. The first fits, evaluates, decides,
registers and writes the report, each step leaving a file so that a second process goes on where the first ended.
Events go to stdout as JSON lines; it ends when its stdin closes, which happens when the process that started it dies.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODULE = "luthier.jobs.worker"
MOST_BYTES, MOST_FILES = 1 << 16, 4
"""Of orders."""
LOST = 75
"""The exit code of a process that ended because another had gone."""


class Out:
    """A reporter that writes JSON lines to the process that started this one."""

    def event(self, kind: str, message: str, data: dict[str, Any] | None = None) -> None:
        """One line."""
        print(json.dumps({"kind": kind, "message": message, "data": data or {}}, ensure_ascii=False), flush=True)


@dataclass(frozen=True)
class Orders:
    """Which run a process is to work on."""

    home: Path
    run_id: str

    def say(self, to: socket.socket, files: Sequence[int]) -> None:
        """Tell a process, and have it hold these files until it ends."""
        socket.send_fds(to, [json.dumps([str(self.home), self.run_id]).encode()], files)

    @classmethod
    def heard(cls) -> Orders | None:
        """What this process is told on its stdin; None where nobody will tell it any more."""
        with socket.socket(fileno=os.dup(0)) as own:
            said, *_ = socket.recv_fds(own, MOST_BYTES, MOST_FILES)
        if not said:
            return None
        home, run_id = json.loads(said)
        return cls(Path(home), run_id)


def main() -> int:
    """Do the run; 0 done, 130 paused, LOST, or the exit code of the error that was written to stdout."""
    from luthier.engine.allocator import keep_pages

    keep_pages()
    from luthier.engine.place import number
    from luthier.engine.world import lost
    from luthier.errors import LuthierError
    from luthier.jobs.work import Interrupted, follow, work_on

    follows = number() > 0
    signal.signal(signal.SIGTERM, signal.SIG_IGN if follows else _interrupt)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        orders = Orders.heard()
        if orders is None:
            return 0
        threading.Thread(target=end_with_parent, daemon=True).start()
        if follows:
            follow(orders.home, orders.run_id)
        else:
            work_on(orders.home, orders.run_id, Out(), _wishes)
    except (Interrupted, KeyboardInterrupt):
        return 130
    except LuthierError as error:
        part = {"type": type(error).__name__, "what": error.what, "where": error.where, "mend": error.mend}
        Out().event("error", str(error), part)
        return error.exit_code
    except RuntimeError as error:
        if not lost(error):
            raise
        os._exit(LOST)  # what is left of the group may wait for the one that has gone
    return 0


_stop = threading.Event()
_fitting = threading.Event()


def _wishes(fitting: bool) -> str | None:
    """Whether the starter asked to pause. While fitting, the loop asks between steps; else the signal interrupts."""
    (_fitting.set if fitting else _fitting.clear)()
    return "pause" if _stop.is_set() else None


def _interrupt(number: int, frame: Any) -> None:
    _stop.set()
    if not _fitting.is_set():
        raise KeyboardInterrupt


def end_with_parent() -> None:
    """Wait until stdin closes, and end the process at once."""
    while os.read(0, 4096):
        pass
    os._exit(137)


if __name__ == "__main__":
    sys.exit(main())
