"""Loss and gradient of Luthier beside plain eager PyTorch, transformers and PEFT, row by row. Reads a JSON job.

Both start from the same weights, away from where the adapter does nothing. The plain side uses none of our code but
the token ids of the rows. Luthier's is that of a fit: its own packs, lanes and objective.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from luthier_fit import opened
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM

from luthier.engine.plan import Plan
from luthier.jobs.feeds import feed_of
from luthier.jobs.workbench import Work
from luthier.models.load import make_policy, save_policy
from luthier.models.policy import Policy
from luthier.store import Home

NUDGE = 0.01
"""The standard deviation of what is added to weights that start at zero."""


def main() -> None:
    job = json.load(sys.stdin)
    work = opened(job["recipe"], Home.open(Path(job["home"])))
    policy = make_policy(work.files, work.recipe.adapter, tuple(work.plan.labels), seed=0)
    feed = feed_of(work, policy)
    reference = columns(feed.source.take(0), "reference_logp")
    nudge(policy)
    save_policy(policy, Path(job["scratch"]) / "start", work.files)
    loss, ours = gradient(policy, feed, work)
    plain, head = plain_model(work, Path(job["scratch"]) / "start")
    eager_loss = EAGER[job["objective"]](plain, head, work, reference)
    eager_loss.backward()
    theirs = by_name(chain(plain, head))
    own = {name: ours[match] for name, match in matches(theirs, ours).items()}
    distance = torch.stack([(own[name] - theirs[name]).norm() for name in theirs]).norm()
    norm, eager_norm = total(own.values()), total(theirs.values())
    print(json.dumps({
        "loss": loss, "eager_loss": float(eager_loss), "loss_difference": abs(loss / float(eager_loss) - 1),
        "gradient_norm": norm, "eager_gradient_norm": eager_norm, "norm_difference": abs(norm / eager_norm - 1),
        "gradient_distance": float(distance) / eager_norm, "rows": len(work.rows["train"]),
    }))  # fmt: skip


def nudge(policy: Policy) -> None:
    """Move weights that start at zero, so that every gradient is one."""
    draw = torch.Generator().manual_seed(1)
    for name, parameter in policy.trainable().items():
        if "lora_B" in name or name.startswith("head."):
            with torch.no_grad():
                parameter.normal_(std=NUDGE, generator=draw)


def columns(batches: Iterable[Any], name: str) -> dict[int, float]:
    """The value of a column for each row's number."""
    return {
        int(number): float(value)
        for batch in batches
        if name in batch.columns
        for number, value in zip(batch.numbers_R, batch.column(name), strict=True)
    }


def gradient(policy: Policy, feed: Any, work: Work) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradient of the first step, which holds all rows, as a fit takes it."""
    plan = Plan(work.recipe.train, policy.trainable(), 1, int(work.plan.forecast["lanes"]), feed.seams)
    batches = feed.source.take(0)
    counts = [feed.objective.count(batch) for batch in batches]
    units = {name: sum(count[name] for count in counts) for name in counts[0]}
    loss = 0.0
    for scored in plan.backward(policy, feed.objective, batches, units):
        loss += sum(float(term.detach().sum()) / units[name] for name, term in scored.terms.items())
    return loss, {name: p.grad.clone() for name, p in policy.trainable().items() if p.grad is not None}


def plain_model(work: Work, start: Path) -> tuple[nn.Module, nn.Module | None]:
    """The base from its files with transformers alone, the adapter from PEFT's files, the head's weights."""
    kind, folder = work.recipe.adapter.type, start if work.recipe.adapter.type == "full" else work.files.folder
    if work.files.kind == "encoder":
        return AutoModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.float32), plain_head(start)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if work.recipe.load_in_4bit:
        round_to_nf4(model)
    if kind != "full":
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, start, is_trainable=True)
    return model, None


def round_to_nf4(model: nn.Module) -> None:
    """Give the linear layers, the output layer apart, the float32 values that NF4 in blocks of 64 holds."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name != "lm_head":
            blocks = module.weight.data.reshape(-1, 64).contiguous()
            rounded = dequantize_4bit(*quantize_4bit(blocks, quant_type="nf4", compress_statistics=True))
            module.weight.data = rounded.view_as(module.weight)


def plain_head(start: Path) -> nn.Module:
    """A linear layer with the weights that lie beside the adapter."""
    from safetensors.torch import load_file

    weights = load_file(next(start.glob("head*.safetensors")))
    weight = next(value for value in weights.values() if value.ndim == 2)
    head = nn.Linear(weight.shape[1], weight.shape[0])
    head.load_state_dict({"weight": weight, "bias": next(v for v in weights.values() if v.ndim == 1)})
    return head


def logp(model: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """The log-probability of the tokens that count, one row alone, all logits at once."""
    scores = torch.log_softmax(model(ids[None]).logits[0, :-1], -1).gather(1, ids[1:, None])[:, 0]
    return (scores * mask[1:]).sum()


def row(work: Work, number: int) -> tuple[Tensor, Tensor]:
    """Ids and mask of a row."""
    ids, weights = work.rendered["train"].row(number)
    return torch.from_numpy(ids.astype("int64")), torch.from_numpy((weights > 0).astype("float32"))


def sft(model: nn.Module, head: None, work: Work, reference: dict[int, float]) -> Tensor:
    """Mean negative log-likelihood of the tokens that count."""
    rows = [row(work, number) for number in range(len(work.rendered["train"]))]
    units = sum(float(mask[1:].sum()) for _, mask in rows)
    return -torch.stack([logp(model, *own) for own in rows]).sum() / units


def dpo(model: nn.Module, head: None, work: Work, reference: dict[int, float]) -> Tensor:
    """Equation 7 of Rafailov et al. 2023 (arXiv:2305.18290), the mean over pairs."""
    margins = []
    for first in range(0, len(work.rendered["train"]), 2):
        drift = [logp(model, *row(work, number)) - reference[number] for number in (first, first + 1)]
        margins.append(work.recipe.objective.beta * (drift[0] - drift[1]))
    return -F.logsigmoid(torch.stack(margins)).mean()


def classify(model: nn.Module, head: nn.Module, work: Work, reference: dict[int, float]) -> Tensor:
    """Mean cross-entropy of a linear head on the normalised mean of the last states."""
    logits = []
    for number in range(len(work.rendered["train"])):
        states = model(row(work, number)[0][None]).last_hidden_state[0]
        logits.append(head(F.normalize(states.mean(0), dim=0)))
    labels = [work.plan.labels.index(str(example.label)) for example in work.rows["train"]]
    return F.cross_entropy(torch.stack(logits), torch.tensor(labels))


EAGER: dict[str, Callable[..., Tensor]] = {"sft": sft, "dpo": dpo, "classify": classify}


def chain(*modules: nn.Module | None) -> Iterator[tuple[str, nn.Parameter]]:
    """All parameters by name; those of the second module are the head's."""
    for prefix, module in zip(("", "head."), modules, strict=True):
        for name, parameter in module.named_parameters() if module is not None else ():
            yield prefix + name, parameter


def by_name(parameters: Iterable[tuple[str, nn.Parameter]]) -> dict[str, Tensor]:
    """The gradients that there are."""
    return {name: p.grad for name, p in parameters if p.requires_grad and p.grad is not None}


def matches(theirs: dict[str, Tensor], ours: dict[str, Tensor]) -> dict[str, str]:
    """Their name → ours of the same parameter: the one whose name ends alike the longest. Raises where none is."""
    found = {}
    for name in theirs:
        tail = {own: common_tail(name, own) for own in ours if ours[own].shape == theirs[name].shape}
        found[name] = max(tail, key=lambda own: tail[own])
    if len(set(found.values())) != len(ours):
        raise ValueError(f"{len(ours)} gradients of ours, {len(set(found.values()))} of them matched")
    return found


def common_tail(a: str, b: str) -> int:
    """How many parts two names have in common at their ends."""
    left, right = a.split(".")[::-1], b.split(".")[::-1]
    return next((i for i, (x, y) in enumerate(zip(left, right, strict=False)) if x != y), min(len(left), len(right)))


def total(gradients: Iterable[Tensor]) -> float:
    """The norm of all of them together."""
    return float(torch.stack([g.norm() for g in gradients]).norm())


if __name__ == "__main__":
    main()
