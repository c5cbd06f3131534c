"""What happens between loading a policy and its first step: its feed, and a probe of what the steps will take.

A fit that does not fit into memory shows it in the first seconds, and what it will take is measured, not counted. The
micro-batches that were chosen are kept in `probe.json` of the run, with the forecast after the probe: a process that
goes on with the run takes the same. Nothing of the probe is left in weights, gradients or random state.
"""

from __future__ import annotations

import time
from typing import Any

from luthier.engine import world
from luthier.engine.checkpoint import Checkpoints
from luthier.engine.peak import Peak
from luthier.engine.rollouts import Rollouts
from luthier.jobs.feeds import feed_of
from luthier.jobs.feeds.feed import Feed
from luthier.jobs.foretell import foretell, told
from luthier.jobs.trials import Measured, fitting, with_micro_batches
from luthier.jobs.workbench import Work
from luthier.jobs.workspace import PROBE
from luthier.models.policy import Policy
from luthier.store.files import read_json, write_json


def chosen(work: Work) -> Work:
    """With the micro-batches that a probe of the run chose; as planned where there was none."""
    path = work.folder / PROBE
    return with_micro_batches(work, **read_json(path)["micro_batches"]) if path.exists() else work


def ready_to_step(work: Work, policy: Policy, peak: Peak, memory: Checkpoints, fresh: bool) -> tuple[Work, Feed]:
    """The feed of a run, with micro-batches that fit; on a `fresh` one, what it does before the first step is done.

    Where a pass takes all processes, they try micro-batches together, and the one that leads writes what was found.
    """
    path = work.folder / PROBE
    if world.agreed(path.exists()) if policy.together else path.exists():
        work = chosen(work)
        return work, _begun(work, policy, fresh)
    work, feed, found = made(work, policy, peak, fresh)
    if world.leads():
        write_json(path, found)
    if policy.together:
        world.meet()  # from here on, all find it
    memory.seconds += found["kept_seconds"]
    return work, feed


def _begun(work: Work, policy: Policy, fresh: bool) -> Feed:
    feed = feed_of(work, policy)
    if fresh:
        feed.begin()
    return feed


def _sizes(work: Work) -> dict[str, int]:
    return {name: int(work.plan.forecast[name]) for name in ("micro_batch_tokens", "lanes")}


def made(work: Work, policy: Policy, peak: Peak, fresh: bool) -> tuple[Work, Feed, dict[str, Any]]:
    """The feed of a run that had none, and what `probe` says of it."""
    start = time.perf_counter()
    feed = _begun(work, policy, fresh)
    return probe(work, policy, feed, peak, time.perf_counter() - start)


def probe(work: Work, policy: Policy, feed: Feed, peak: Peak, before: float) -> tuple[Work, Feed, dict[str, Any]]:
    """Work and feed with micro-batches that fit, and what `probe.json` holds.

    `before` are the seconds that it took to make and to begin the feed. `kept_seconds` are those of answers that were
    sampled for the probe, from which the first step learns.
    """
    start = time.perf_counter()
    with work.stages.stage("probe"):
        work, feed, found = fitting(work, policy, feed, peak)
    after = foretell(work, feed, found, peak.overall(), before)
    work.stages.note(told(after, sum(stage["seconds"] for stage in work.stages.timeline)))
    return work, feed, {
        "micro_batches": _sizes(work), "forecast": after, "probe_seconds": time.perf_counter() - start,
        "kept_seconds": _kept(feed, found),
    }  # fmt: skip


def _kept(feed: Feed, found: Measured) -> float:
    return found.looked.taking_seconds if isinstance(feed.source, Rollouts) else 0.0
