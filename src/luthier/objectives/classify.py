"""Classification: cross-entropy over exclusive labels, or one binary cross-entropy a label."""

from __future__ import annotations

import torch.nn.functional as F

from luthier.data.batch import Batch
from luthier.models.policy import Policy
from luthier.objectives.scored import Scored


def classify(policy: Policy, batch: Batch, *, label_smoothing: float = 0.0) -> Scored:
    """Σ w · CE(logits, label), by row; columns `label` (R,) of class numbers and `row_weight` (R,).

    The row weight is the example's weight times its class weight. Label smoothing: Szegedy et al. 2016,
    arXiv:1512.00567, section 7.
    """
    logits = policy.class_logits(batch)
    label = batch.column("label")
    loss = F.cross_entropy(logits, label, reduction="none", label_smoothing=label_smoothing)
    return Scored({"cross_entropy": loss * batch.column("row_weight")}, {"accuracy": logits.argmax(1) == label})


def classify_multi(policy: Policy, batch: Batch, *, label_smoothing: float = 0.0) -> Scored:
    """Σ w · mean over classes of BCE(logit, label), by row; column `label` (R, C) of zeros and ones."""
    logits = policy.class_logits(batch)
    label = batch.column("label").to(logits.dtype)
    smooth = label * (1 - label_smoothing) + label_smoothing / 2
    loss = F.binary_cross_entropy_with_logits(logits, smooth, reduction="none").mean(1)
    return Scored(
        {"cross_entropy": loss * batch.column("row_weight")},
        {"accuracy": ((logits > 0) == (label > 0)).all(1)},
    )


def rows(batch: Batch) -> float:
    """The weight of all rows."""
    return float(batch.column("row_weight").sum())
