"""A run as a few lines of text that are drawn again and again in the same place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from luthier.cli.screen import one_line

if TYPE_CHECKING:
    from luthier.jobs.watching import Sight

EIGHTHS = " ▁▂▃▄▅▆▇█"
WIDEST = 100
TALL, FLAT = 6, 1
"""Lines of the curve of a run that is watched alone, and of one among others."""
EVENTS = 4
COLOURS = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "interrupted": "yellow"}


def picture(sights: Sequence[Sight], width: int) -> Any:
    """All runs below each other, in at most `width` columns; one that stands alone in more detail."""
    from rich.console import Group

    width = min(width, WIDEST)
    parts: list[Any] = []
    for sight in sights:
        parts += [*([""] if parts else []), *_run(sight, width, alone=len(sights) == 1)]
    return Group(*parts)


def state(sight: Sight) -> str:
    """The stored status, or `interrupted` where no process works on a run that has not ended."""
    return sight.status if sight.alive or sight.ended else "interrupted"


def curve(points: Sequence[tuple[int, float]], width: int, height: int) -> list[str]:
    """The values as columns of blocks, `height` lines of at most `width` characters; each column is a mean.

    The lowest column is an eighth of a line high, the highest `height` lines; values that are not finite are left out.
    """
    finite = [value for _, value in points if math.isfinite(value)]
    means = [sum(part) / len(part) for part in _cut(finite, width)]
    low, high = min(means, default=0.0), max(means, default=0.0)
    most = 8 * height - 1
    eighths = [1 + round(most * (mean - low) / (high - low)) if high > low else 1 for mean in means]
    return ["".join(EIGHTHS[max(0, min(8, e - 8 * line))] for e in eighths) for line in reversed(range(height))]


def _cut(values: list[float], parts: int) -> Iterable[list[float]]:
    """At most so many parts of like size, in order."""
    count = min(parts, len(values))
    bounds = [index * len(values) // count for index in range(count + 1)] if count else [0]
    return [values[start:end] for start, end in pairwise(bounds)]


def _run(sight: Sight, width: int, alone: bool) -> Iterable[Any]:
    from rich.text import Text

    shown = state(sight)
    right = shown if shown != "running" or not sight.events else f"{shown}: {stage(sight)}"
    room = width - len(sight.run_id) - 2
    yield Text.assemble((sight.run_id, "bold"), "  ", (right[:room] if room > 8 else right, COLOURS.get(shown, "cyan")))
    if sight.steps:
        yield _line("steps", bar(sight, width - 9))
    if sight.curves.get("loss"):
        yield from _loss(sight, width, TALL if alone else FLAT)
    yield from (_line(name, text) for name, text in figures(sight, width) if text)
    if alone:
        for event in sight.events[-EVENTS:]:
            line = Text(f"{event.at[11:19]}  {one_line(event.message)}", style="dim", no_wrap=True)
            line.truncate(width, overflow="ellipsis")
            yield line
    if shown == "interrupted":
        yield Text(f"no process works on it; to go on: {one_line(sight.command)}")


def stage(sight: Sight) -> str:
    """What the run does at the moment."""
    return next((one_line(event.message) for event in reversed(sight.events) if event.kind == "stage"), "starting")


def bar(sight: Sight, width: int) -> str:
    """`████▌      212/312  12 s left`."""
    from luthier.evaluate.report.numbers import duration

    assert sight.steps
    left = sight.eta_seconds
    told = f"{sight.step}/{sight.steps}" + (f"  {duration(left)} left" if left and sight.alive else "")
    room = max(4, min(40, width - len(told) - 2))
    done = min(1.0, sight.step / sight.steps) * room
    full = "█" * int(done)
    part = "▌" if done - int(done) >= 0.5 else ""
    return f"{(full + part).ljust(room, '·')}  {told}"


def _loss(sight: Sight, width: int, height: int) -> Iterable[Any]:
    """The curve between its highest and lowest value, with the newest value below the name; or all in one line."""
    points = sight.curves["loss"]
    newest = f"{points[-1][1]:.4g}"
    if height == 1:
        (line,) = curve(points, max(8, width - 32), 1)
        yield _line("loss", f"{line}  {points[0][1]:.4g} → {newest}")
        return
    room = max(8, width - 20)
    finite = [value for _, value in points if math.isfinite(value)] or [math.nan]
    right = {0: f"  {max(finite):.4g}", height - 1: f"  {min(finite):.4g}"}
    for index, line in enumerate(curve(points, room, height)):
        yield _line({0: "loss", 1: newest}.get(index, ""), line.ljust(room) + right.get(index, ""))


def figures(sight: Sight, width: int) -> list[tuple[str, str]]:
    """Named values, each with its name: speed and memory, validation, and what came of it."""
    from luthier.evaluate.report.numbers import count, size

    speed = f"{count(sight.last['tokens_per_second'])} tokens/s" if "tokens_per_second" in sight.last else ""
    memory = size(sight.memory_bytes) if sight.memory_bytes else ""
    validation = "  ".join(
        f"{name.removeprefix('validation_')} {points[-1][1]:.4g}"
        for name, points in sight.curves.items()
        if name.startswith("validation_")
    )
    return [
        ("speed", "  ".join(filter(None, [speed, f"memory {memory}" if memory else ""]))),
        ("valid", validation[: width - 9]),
        ("outcome", "  ".join(str(sight.outcome[name]) for name in ("verdict", "model") if name in sight.outcome)),
        ("report", str(sight.outcome.get("report", ""))),
    ]


def _line(name: str, text: str) -> Any:
    from rich.text import Text

    return Text.assemble((f"{name:<9}", "dim"), text, overflow="ignore", no_wrap=True)
