"""The recipe's `objective`: how what the model says is scored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from luthier.recipe.values import Above0, AtLeast0, Fraction, Part, Positive, Switch, Text


class Objective(Part):
    """How a batch is scored."""

    type: Literal["sft", "pretrain", "classify", "distill", "dpo", "reward", "grpo", "ppo"] = "sft"
    """`sft`: answer tokens; `pretrain`: all tokens; `classify`: one label, or several, per row; `distill`: what a
    teacher says about each answer token; `dpo`: chosen answers above rejected ones; `reward`: a score of answers, from
    pairs; `grpo`: sampled answers by what they earn beside others to a prompt; `ppo`: sampled answers by what they earn
    above a learnt value."""
    class_weights: Literal["none", "balanced"] | dict[str, Above0] = "none"
    """`classify` only, also beside: weight of each class; `balanced` is n / (classes × n of the class)."""
    label_smoothing: Fraction = 0.0
    """`classify`, also beside: probability mass spread over all classes; `dpo`: how likely a pair is to be the wrong
    way round."""
    beta: Above0 = 0.1
    """`dpo` only: how dear it is to drift from the policy at step 0; the smaller, the further it goes."""
    teacher: Text | None = None
    """`distill` only, required: the model that is imitated, named like `base_model`; it has the same tokenizer."""
    divergence: Literal["forward_kl", "reverse_kl", "js"] = "forward_kl"
    """`distill` only: KL(teacher ‖ policy), KL(policy ‖ teacher), or the Jensen-Shannon divergence."""
    jsd_beta: Annotated[float, Field(gt=0, lt=1, strict=True)] = 0.5
    """`divergence: js` only: the teacher's share of the mixture that both are compared with."""
    temperature: Above0 = 1.0
    """`distill`: what logits of teacher and policy are divided by; the loss is multiplied by its square. `grpo`, `ppo`:
    the temperature at which answers are sampled and learnt."""
    top_k: Positive | None = None
    """`distill` only: compare the teacher's so many likeliest tokens and one bucket for all others. They are computed
    once and kept on disk, and the teacher need not be loaded again. By default, the whole vocabulary of a live one."""

    beside: AtLeast0 = 0.0
    """Where text is learnt: how much a second objective counts in each step, whose rows are the data entries with
    `split: beside`."""
    beside_type: Literal["pretrain", "classify"] = "pretrain"
    """What the second objective is. `pretrain`: plain text, learnt whole; `classify`: rows with labels, by a head on
    the same trunk, measured on the rows with `split: beside_test`."""
    reward: Text = "exact_match"
    """`grpo`, `ppo`: what an answer earns: `exact_match`, `json_match`, `module:function` or `file.py:function`."""
    num_generations: Positive = 8
    """`grpo`, `ppo`: answers sampled for each prompt; `train.batch_size` counts prompts."""
    num_iterations: Positive = 1
    """`grpo`, `ppo`: optimizer steps on the same answers before new ones are sampled."""
    epsilon: Above0 = 0.2
    """`grpo`, `ppo`: how far the probability of a token may move from when it was drawn before its gain is clipped."""
    kl_coef: AtLeast0 = 0.0
    """`grpo`, `ppo`: the weight of the penalty on the distance from the policy at step 0 (`beta` in TRL's GRPO)."""
    loss_type: Literal["grpo", "dapo", "dr_grpo"] = "dapo"
    """`grpo` only: every answer counts the same (`grpo`), every token (`dapo`), or every token over the longest answer
    allowed (`dr_grpo`)."""
    scale_rewards: Switch = True
    """`grpo` only: measure an answer's advantage in standard deviations among the answers to its prompt."""
    gamma: Annotated[float, Field(gt=0, le=1, strict=True)] = 1.0
    """`ppo` only: what a reward one token later is worth."""
    lam: Annotated[float, Field(ge=0, le=1, strict=True)] = 0.95
    """`ppo` only: λ of the generalised advantage estimate."""
    vf_coef: Above0 = 0.1
    """`ppo` only: the weight of the value head's loss."""
