"""Steps that begin at the first trained block, beside steps that run all blocks: seconds, losses and gradients.

    python bench/frozen.py [--recipe examples/tickets/recipe.yaml] [--pairs 3] [--steps 3] [--home HOME]

One process holds the policy; slices of steps on the same rows take turns, after the states of these rows were computed.
Prints the medians and writes bench/results/frozen.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from demo import gemm

from luthier.data.rendered import Chosen
from luthier.data.stream import Stream
from luthier.engine import allocator
from luthier.engine.plan import Plan
from luthier.jobs.feeds import Feed, feed_of
from luthier.jobs.feeds.language import learnt_rows
from luthier.jobs.prepare import data_part, get_ready
from luthier.jobs.reporting import Silent, Stages
from luthier.jobs.run import outputs, task_of
from luthier.jobs.workbench import Work
from luthier.jobs.workspace import RunPlan
from luthier.models.entrance import entering, kept_states, open_entrance
from luthier.models.kept_states import states_key
from luthier.models.load import make_policy
from luthier.models.policy import Policy
from luthier.recipe import total_steps
from luthier.store import Home

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measure, print and write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--recipe", type=Path, default=ROOT / "examples" / "tickets" / "recipe.yaml")
    options.add_argument("--pairs", type=int, default=3)
    options.add_argument("--steps", type=int, default=3)
    options.add_argument("--home", type=Path)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        result = measure(asked.recipe, asked.pairs, asked.steps, Home(asked.home or Path(scratch)))
    print(json.dumps(result, indent=1))
    (ROOT / "bench" / "results" / "frozen.json").write_text(json.dumps(result, indent=1) + "\n")


def measure(recipe: Path, pairs: int, steps: int, home: Home) -> dict[str, Any]:
    """Seconds a step both ways in turns, how far losses and gradients are apart, and what that makes of the fit.

    States are computed for the rows of these steps alone; what all rows take is scaled by their tokens.
    """
    work = opened(recipe, home)
    torch.set_num_threads(int(work.recipe.machine.threads))
    policy = make_policy(work.files, work.recipe.adapter, tuple(work.plan.labels), False, work.recipe.train.seed)
    feed = feed_of(replace(work, plan=replace(work.plan, forecast={**work.plan.forecast, "frozen_blocks": 0})), policy)
    assert isinstance(feed.source, Stream)
    rows = learnt_rows(work)
    numbers = sorted({number for step in range(pairs * steps) for number in feed.source.numbers(step)})
    chosen, block = Chosen(rows, np.array(numbers)), int(work.plan.forecast["frozen_blocks"])
    open_entrance(policy, block)
    start = time.perf_counter()
    read = kept_states(policy, chosen, states_key(work.files.weights_key, block), home.cache("bench"), lambda *at: None)
    filling = (time.perf_counter() - start) / chosen.lengths.sum()
    place = {number: index for index, number in enumerate(numbers)}
    make = entering(feed.source.make, lambda number: read(place[number]))
    sources = {"every": feed.source, "once": replace(feed.source, make=make)}
    seconds: dict[str, list[float]] = {"every": [], "once": []}
    apart = {"loss": 0.0, "gradient": 0.0}
    before = gemm()
    for pair in range(pairs):
        found = {}
        for name, source in sources.items():
            begun = time.perf_counter()
            found[name] = [gradient(work, policy, feed, source, pair * steps + step) for step in range(steps)]
            seconds[name].append((time.perf_counter() - begun) / steps)
        for (loss, whole), (other, short) in zip(found["every"], found["once"], strict=True):
            apart["loss"] = max(apart["loss"], abs(other - loss) / abs(loss))
            apart["gradient"] = max(apart["gradient"], float((short - whole).norm() / whole.norm()))
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    total = total_steps(work.recipe, len(work.rows["train"]))
    tokens = int(rows.lengths.sum() + work.rendered["validation"].lengths.sum())
    return {
        "recipe": str(work.recipe.name), "frozen_blocks": block, "steps": total, "seconds_a_step": medians,
        "fill_seconds": filling * tokens, "apart": apart,
        "fit_seconds": {"every": total * medians["every"], "first run": filling * tokens + total * medians["once"],
                        "later runs": total * medians["once"]},
        "gemm_gflops": (before + gemm()) / 2,
    }  # fmt: skip


def gradient(work: Work, policy: Policy, feed: Feed, source: Stream, step: int) -> tuple[float, torch.Tensor]:
    """The loss of a step and its gradient; no weight is changed."""
    plan = Plan(work.recipe.train, policy.trainable(), step + 1, int(work.plan.forecast["lanes"]), feed.seams)
    batches = source.take(step)
    units = {name: sum(each[name] for each in map(feed.objective.count, batches)) for name in feed.objective.units}
    scored = list(plan.backward(policy, feed.objective, batches, units))
    loss = sum(float(term.detach().sum()) / units[name] for one in scored for name, term in one.terms.items())
    grads = [parameter.grad for parameter in policy.trainable().values() if parameter.grad is not None]
    flat = torch.cat([grad.flatten() for grad in grads]).clone()
    for parameter in policy.trainable().values():
        parameter.grad = None
    return loss, flat


def opened(recipe: Path, home: Home) -> Work:
    """The run that the recipe could start."""
    ready = get_ready(recipe, (), home, lambda text: None)
    settings = ready.recipe
    plan = RunPlan(
        run_id="bench", recipe=settings.to_plain(), source=ready.source.to_plain(), reasons=[],
        dataset_version="bench", identity="", labels=outputs(ready), multi_label=ready.data.multi_label,
        task=task_of(settings), data=data_part(ready, None), forecast=asdict(ready.forecast), environment={},
        command="",
    )  # fmt: skip
    rows = {name: [ready.data.splits[name][i] for i in part.examples] for name, part in ready.rendered.items()}
    return Work(home, plan, settings, home.root, ready.files, rows, ready.rendered, Stages(Silent()))


if __name__ == "__main__":
    allocator.keep_pages()
    main()
