"""What a fit begins with: the policy, what it learns from, how it steps, and what is remembered."""

from __future__ import annotations

from dataclasses import replace

from luthier.engine import fsdp, tensor_parallel, world
from luthier.engine.adapter_seams import adapter_seams
from luthier.engine.ahead import Ahead
from luthier.engine.budget import LEAN_MICRO_BATCH_TOKENS
from luthier.engine.checkpoint import Checkpoints, newest
from luthier.engine.in_backward import InBackward
from luthier.engine.loss_scale import scaled_loss
from luthier.engine.peak import Peak
from luthier.engine.plan import Plan
from luthier.engine.rollouts import Rollouts
from luthier.engine.seams import Seams, plain
from luthier.jobs.feeds.feed import Feed
from luthier.jobs.probe import ready_to_step
from luthier.jobs.trials import under_way
from luthier.jobs.workbench import Work
from luthier.models.load import make_policy
from luthier.models.policy import Policy
from luthier.models.recompute import recompute_blocks
from luthier.recipe import total_steps

DIVIDE = {"fsdp": fsdp.shard, "tensor": tensor_parallel.split}
"""`machine.parallel` → gives each process its part of the model."""


def learner(work: Work, peak: Peak) -> tuple[Work, Policy, Feed, Plan, Checkpoints]:
    """At step 0, with each process's part in them; the work with the micro-batches that a probe chose."""
    recipe = work.recipe
    with work.stages.stage("load"):
        policy = _part(work)
    memory = Checkpoints(work.folder / "checkpoints", int(recipe.train.save_steps))
    fresh = newest(memory.folder, "step") is None
    with world.leader_first(not policy.together):
        work, feed = ready_to_step(work, policy, peak, memory, fresh)
    world.spread(policy.trainable().values())
    steps = total_steps(recipe, len(work.rows["train"]))
    if work.device == "cuda" and not policy.together and not isinstance(feed.source, Rollouts):
        feed = replace(feed, source=Ahead(feed.source, steps))
    seams = feed.seams.and_those_of(adapter_seams(policy, recipe.adapter, steps))
    if recipe.train.precision == "float16":
        # its own part comes first: what others do after the backward is told the gradient without the scale
        seams = scaled_loss(seams.gradient).and_those_of(replace(seams, gradient=plain))
    return work, policy, feed, _plan(work, policy, steps, seams), memory


def policy_at_step_0(work: Work, device: str) -> Policy:
    """The base with what the recipe adds to it, whole."""
    recipe, plan = work.recipe, work.plan
    return make_policy(work.files, recipe.adapter, tuple(plan.labels), plan.multi_label, recipe.train.seed, device)


def _part(work: Work) -> Policy:
    """This process's part of it; it is loaded whole, in the memory of the machine where a GPU could not hold it."""
    machine, train = work.recipe.machine, work.recipe.train
    apart = world.processes() > 1 and machine.parallel != "replicate"
    policy = policy_at_step_0(work, "cpu" if apart else machine.device)
    if train.gradient_checkpointing:
        above = LEAN_MICRO_BATCH_TOKENS if train.gradient_checkpointing == "long" else 0
        recompute_blocks(policy.wrapped, work.recipe.adapter.lora_dropout > 0, train.activation_offloading, above)
    if apart:
        DIVIDE[machine.parallel](policy, machine.device)
        if policy.head is not None:
            policy.head.to(machine.device)
        policy.together = True
    return policy


def _plan(work: Work, policy: Policy, steps: int, seams: Seams) -> Plan:
    settings, learnt = work.recipe.train, policy.trainable()
    if settings.optimizer_in_backward:
        return InBackward(settings, learnt, steps, seams)
    return Plan(settings, learnt, steps, int(work.plan.forecast["lanes"]), seams, under_way(work))
