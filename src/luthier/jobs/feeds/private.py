"""What every objective learns from, privately: the same rows, drawn by chance and one by one."""

from __future__ import annotations

import secrets
from dataclasses import replace

from luthier.data.stream import Stream
from luthier.engine import world
from luthier.engine.accountant import Guarantee
from luthier.engine.private import Draws, clipped, noise
from luthier.jobs.feeds.feed import Feed
from luthier.jobs.workbench import Work


def private(work: Work, feed: Feed) -> Feed:
    """The feed with DP-SGD as the run's plan has it. Nothing is learnt from the rows before the first step."""
    assert isinstance(feed.source, Stream), "only stored rows can be drawn"
    assert work.plan.privacy is not None
    promise, stream, size = Guarantee(**work.plan.privacy), feed.source, int(work.recipe.train.batch_size)
    asked = work.recipe.privacy.noise_seed
    seed = world.agreed(secrets.randbits(63) if asked is None else asked)
    draws = Draws(stream.make, stream.count, promise.sample_rate, seed, stream.data)
    seams = replace(
        feed.seams,
        gradient=clipped(promise.max_grad_norm, size),
        after_backward=(
            *feed.seams.after_backward,
            noise(draws, promise.noise_multiplier * promise.max_grad_norm / size),
        ),
        clip=False,
    )
    return replace(feed, source=draws, seams=seams, begin=lambda: None)
