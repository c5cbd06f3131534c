from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.picture import picture, state
from luthier.cli.screen import harmless

if TYPE_CHECKING:
    from luthier.jobs.watching import Sight
    from luthier.store import Home

Draw = Callable[[list["Sight"]], None]
MISSED = 2
"""Looks in a row that must find nobody at work: a run is made an instant before its lock is taken."""

Which = Annotated[str, typer.Argument(metavar="[RUN]", help="A run id, the start of one, or `latest`; default: all.")]
Interval = Annotated[float, typer.Option("--interval", min=0.1, help="Seconds between looks.")]
Lines = Annotated[bool, typer.Option("--json", help="A JSON object a line, whenever a run has changed.")]


def watch(run: Which = "", interval: Interval = 1.0, as_json: Lines = False) -> None:
    """Follow a run, or all that are under way, until they end."""
    from luthier.store import Home, runs

    home = Home.open()
    wanted = [runs.get(home, run).id] if run else None
    try:
        with drawing(as_json) as draw:
            found = follow(home, wanted, interval, draw)
    except KeyboardInterrupt:
        print("\nnot watched any more; what runs goes on", file=sys.stderr)
        raise typer.Exit(130) from None
    if not found:
        print("no run is under way; start one with: luthier run RECIPE", file=sys.stderr)


def follow(home: Home, wanted: list[str] | None, interval: float, draw: Draw) -> bool:
    """Look and draw until all of the runs have ended, or nobody works on them; False where there was none."""
    from luthier.jobs.watching import look

    seen: dict[str, Sight] = {}
    missed: dict[str, int] = {}
    while True:
        for run_id in wanted or [*seen, *(run_id for run_id in under_way(home) if run_id not in seen)]:
            if run_id not in seen or not seen[run_id].ended:
                seen[run_id] = look(home, run_id, seen.get(run_id))
                missed[run_id] = 0 if seen[run_id].alive else missed.get(run_id, 0) + 1
        draw([sight for run_id, sight in seen.items() if sight.alive or sight.ended or missed[run_id] >= MISSED])
        if all(sight.ended or missed[run_id] >= MISSED for run_id, sight in seen.items()):
            return bool(seen)
        time.sleep(interval)


def under_way(home: Home) -> list[str]:
    """Ids of the runs that a process works on, oldest first."""
    from luthier.store import runs
    from luthier.store.files import held

    return [row.id for row in reversed(runs.unended(home)) if held(runs.lock_path(home, row.id))]


@contextmanager
def drawing(as_json: bool) -> Iterator[Draw]:
    """What shows the runs: JSON lines, a picture that stays in its place on a terminal, or plain lines elsewhere."""
    if as_json:
        yield Told(json_line).draw
    elif sys.stdout.isatty():
        from rich.console import Console
        from rich.live import Live

        console = Console(highlight=False)
        with Live(console=console, auto_refresh=False) as live:
            yield lambda sights: live.update(picture(sights, console.width), refresh=True)
    else:
        yield Told(plain_lines).draw


class Told:
    """Writes of each run what `lines` says is new since the last look."""

    def __init__(self, lines: Callable[[Sight, Sight | None], list[str]]) -> None:
        self.lines, self.before = lines, dict[str, "Sight"]()

    def draw(self, sights: list[Sight]) -> None:
        """One look."""
        for sight in sights:
            for line in self.lines(sight, self.before.get(sight.run_id)):
                print(line, flush=True)
            self.before[sight.run_id] = sight


def json_line(sight: Sight, before: Sight | None) -> list[str]:
    """One object, where anything but the memory has changed."""
    from luthier.store.files import to_json

    new = sight.events[len(before.events) :] if before else sight.events
    told = {
        "run_id": sight.run_id, "status": sight.status, "alive": sight.alive, "step": sight.step, "steps": sight.steps,
        "eta_seconds": sight.eta_seconds, "metrics": sight.last, "events": [asdict(event) for event in new],
        **sight.outcome,
    }  # fmt: skip
    same = before is not None and not new and standing(before) == standing(sight)
    return [] if same else [to_json({**told, "memory_bytes": sight.memory_bytes})]


def standing(sight: Sight) -> Any:
    return sight.status, sight.alive, sight.step, sight.steps, sight.last


def plain_lines(sight: Sight, before: Sight | None) -> list[str]:
    """New events, the newest step, and the end."""
    events = sight.events[len(before.events) :] if before else sight.events
    lines = [harmless(f"{event.at[11:19]}  {event.kind}: {event.message}") for event in events]
    if sight.step > (before.step if before else 0):
        of = f"{sight.step}/{sight.steps}" if sight.steps else str(sight.step)
        lines.append(f"step {step_text(of, sight.last)}")
    if (before is None or state(before) != state(sight)) and state(sight) == "interrupted":
        lines.append(harmless(f"{sight.status}, and no process works on it; to go on: {sight.command}"))
    if sight.ended and not (before and before.ended):
        lines.append(" ".join([sight.status, *map(str, sight.outcome.values())]))
    return lines


def step_text(step: int | str, metrics: Mapping[str, float]) -> str:
    return "  ".join([str(step), *(f"{name} {value:.4g}" for name, value in metrics.items())])
