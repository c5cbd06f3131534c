"""On-policy data is just another stream: a step's answers are sampled from the policy as it then is, and scored.

One rollout takes the prompts of a step, `num_generations` answers each, their rewards and advantages, and serves
`num_iterations` optimizer steps. It depends on the weights, the seed and its number alone. While it is in use it is
part of the checkpoint, as plain numbers from which the same batches are made again.

An answer that reaches `max_new_tokens` without its end is scored as it stands, as in the evaluation, and learnt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from luthier.data.batch import Batch, cut, pack, spread
from luthier.data.forest import Row
from luthier.data.stream import Stream
from luthier.engine.advantages import generalised_advantages, group_advantages, whitened
from luthier.models.lanes import side_by_side
from luthier.models.policy import Policy
from luthier.models.sample import sample
from luthier.recipe.types import Objective

Reward = Callable[[int, Sequence[int]], float]
"""(number of the prompt, ids of an answer with its end) → what it earns."""
Targets = dict[str, list[float]]


@dataclass(frozen=True)
class Rollout:
    """Answers in plain numbers: what was asked, what was answered, values by answer, and by target of each batch."""

    number: int
    asked: list[int]
    answers: list[list[int]]
    columns: dict[str, list[float]]
    targets: list[Targets] = field(default_factory=list)


@dataclass
class Rollouts:
    """A source of batches of answers that `policy` wrote; `order` says which prompts a rollout has.

    `prompts` are token ids and `weights` what an answer to each counts; `settings` are the recipe's. The policy at the
    time this is made is the reference of the penalty. What changes weights outside `trainable()` while it learns
    would change the reference as well.
    """

    policy: Policy
    order: Stream
    prompts: Sequence[Sequence[int]]
    weights: Sequence[float]
    reward: Reward
    settings: Objective
    max_new_tokens: int
    stop_ids: Sequence[int]
    budget: int
    lanes: int = 1
    rollout: Rollout | None = None

    def __post_init__(self) -> None:
        trained = self.policy.trainable() if self.settings.kl_coef else {}
        self.reference = {name: parameter.detach().clone() for name, parameter in trained.items()}

    def take(self, step: int) -> list[Batch]:
        """The micro-batches of optimizer step `step`; samples where it is the first of a rollout."""
        number = step // self.settings.num_iterations
        if self.rollout is None or self.rollout.number != number:
            sampled = self._sampled(number)
            self.rollout = replace(sampled, targets=self._targets(self._batches(sampled)))
        return self._batches(self.rollout)

    def state(self) -> dict[str, Any]:
        """The order of the prompts, and the rollout where a step to come needs it."""
        reused = self.rollout is not None and self.settings.num_iterations > 1
        return {"order": self.order.state(), "rollout": asdict(self.rollout) if reused else None}  # type: ignore[arg-type]

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put `state()` back. Raises TrainingError where the prompts or their order have changed."""
        self.order.restore(state["order"])
        self.rollout = Rollout(**state["rollout"]) if state["rollout"] else None

    def _sampled(self, number: int) -> Rollout:
        order, count = self.order, self.settings.num_generations
        asked = [prompt for prompt in order.numbers(number)[order.rank :: order.world] for _ in range(count)]
        answers = self._answers(number, asked)
        rewards = torch.tensor([self.reward(*pair) for pair in zip(asked, answers, strict=True)]).view(-1, count)
        spread = rewards.std(1, correction=min(1, count - 1), keepdim=True).expand_as(rewards)
        columns = {
            "reward": rewards.flatten().tolist(),
            "reward_std": spread.flatten().tolist(),
            "truncated": [float(answer[-1] not in self.stop_ids) for answer in answers],
            "answer_tokens": [float(len(answer)) for answer in answers],
            "row_weight": [self.weights[prompt] for prompt in asked],
        }
        if self.settings.type == "grpo":
            columns["advantage"] = group_advantages(rewards, self.settings.scale_rewards).flatten().tolist()
            columns["no_signal"] = (spread == 0).float().flatten().tolist()
        return Rollout(number, asked, answers, columns)

    def _answers(self, number: int, asked: Sequence[int]) -> list[list[int]]:
        """One answer to each prompt, sampled in as many lanes as learning has, each with a seed of its own."""
        chunk = -(-len(asked) // self.lanes)
        parts = [asked[start : start + chunk] for start in range(0, len(asked), chunk)]
        seeds = np.random.SeedSequence([self.order.seed, number, self.order.rank]).generate_state(len(parts))

        def draw(part: tuple[Sequence[int], Any]) -> list[list[int]]:
            return sample(
                self.policy, [self.prompts[prompt] for prompt in part[0]], max_new_tokens=self.max_new_tokens,
                stop_ids=self.stop_ids, temperature=self.settings.temperature, seed=int(part[1]), keep_stop=True,
            )  # fmt: skip

        with self.policy.evaluating():
            drawn = side_by_side(draw, list(zip(parts, seeds, strict=True)), self.lanes)
            return [answer for part in drawn for answer in part]

    def _batches(self, rollout: Rollout) -> list[Batch]:
        """The answers as micro-batches, those to one prompt side by side."""
        columns = {name: np.array(values, np.float32) for name, values in rollout.columns.items()}
        numbers = torch.tensor(rollout.asked)
        batches = []
        for part in self._parts(rollout):
            batch = pack([self._row(rollout, index) for index in part], columns, share_prefix=True)
            batches.append(replace(batch, numbers_R=numbers[batch.numbers_R]))
        return [
            replace(batch, target_columns={name: torch.tensor(values) for name, values in own.items()})
            for batch, own in zip(batches, rollout.targets or [{}] * len(batches), strict=True)
        ]

    def _row(self, rollout: Rollout, index: int) -> Row:
        prompt, answer = self.prompts[rollout.asked[index]], rollout.answers[index]
        share = {"grpo": 1 / len(answer), "dapo": 1.0, "dr_grpo": 1 / self.max_new_tokens}[self.settings.loss_type]
        weights = np.zeros(len(prompt) + len(answer), np.float32)
        weights[len(prompt) :] = share * rollout.columns["row_weight"][index]
        return Row(np.array([*prompt, *answer]), weights, index)

    def _parts(self, rollout: Rollout) -> list[list[int]]:
        """Which answers share a micro-batch: as many to one prompt as fit, so that it is computed once for them."""
        pieces, sizes, count = [], [], self.settings.num_generations
        for start in range(0, len(rollout.answers), count):
            prompt = len(self.prompts[rollout.asked[start]])
            own = [len(answer) for answer in rollout.answers[start : start + count]]
            for piece in cut(own, self.budget - prompt):
                pieces.append([start + i for i in piece])
                sizes.append(prompt + sum(own[i] for i in piece))
        groups = cut(sizes, self.budget) if self.lanes == 1 else spread(sizes, self.budget, self.lanes)
        return [[index for piece in group for index in pieces[piece]] for group in groups]

    def _targets(self, batches: Sequence[Batch]) -> list[Targets]:
        """The columns of each batch's targets, from the batches as they will be learnt."""
        ppo = self.settings.type == "ppo"
        found: list[dict[str, Tensor]] = [{} for _ in batches]
        if ppo or self.settings.num_iterations > 1:
            found = list(self._forward(self._as_drawn, batches))
        if self.reference:
            with self.policy.holding(self.reference):
                for own, logp in zip(found, self._forward(self._logprobs, batches), strict=True):
                    own["reference_logp"] = logp
        for own, batch in zip(found, batches, strict=True):
            own |= (
                self._judged(batch, own.pop("value")) if ppo else {"advantage": batch.column("advantage")[batch.row_N]}
            )
        if ppo:
            white = whitened(torch.cat([own["advantage"] for own in found]))
            for own, part in zip(found, white.split([len(own["advantage"]) for own in found]), strict=True):
                own["advantage"] = part
        return [{name: values.tolist() for name, values in own.items()} for own in found]

    def _forward(self, work: Callable[[Batch], Any], batches: Sequence[Batch]) -> Iterator[Any]:
        """`work` on each batch without gradients, in as many lanes as learning has, so that numbers are equal."""

        @torch.no_grad()
        def alone(batch: Batch) -> Any:
            return work(batch.to(self.policy.device))

        with self.policy.evaluating():
            yield from side_by_side(alone, batches, self.lanes)

    def _logprobs(self, batch: Batch) -> Tensor:
        return self.policy.logprobs(batch, temperature=self.settings.temperature).cpu()

    def _as_drawn(self, batch: Batch) -> dict[str, Tensor]:
        hidden = self.policy.hidden(batch, batch.source_N)
        found = {"old_logp": self.policy.logprobs(batch, hidden, self.settings.temperature).cpu()}
        return found | ({"value": self.policy.values(batch, hidden).cpu()} if self.settings.type == "ppo" else {})

    def _judged(self, batch: Batch, value_N: Tensor) -> dict[str, Tensor]:
        """Advantages and returns of the tokens of each answer, which lie one after the other."""
        answers = value_N.split(batch.column("answer_tokens").long().tolist())
        pairs = zip(answers, batch.column("reward").tolist(), strict=True)
        found = [
            generalised_advantages(values.tolist(), reward, self.settings.gamma, self.settings.lam)
            for values, reward in pairs
        ]
        advantage = torch.tensor([value for own in found for value in own])
        return {"advantage": advantage, "return": advantage + value_N}
