"""What decides an answer, as one key: for a cache of answers to requests that were made before, word for word."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from luthier.serve.chat.request import ChatRequest

if TYPE_CHECKING:
    from luthier.serve.model import Model

UNDECIDING = ("model", "stream", "include_usage", "store", "metadata", "user")
"""Parts of a request that its answer does not depend on; which model it is, the model itself says."""


def cache_key(model: Model, request: ChatRequest) -> str | None:
    """The SHA-256 of model, prompt and parameters; None where chance decides: no seed, and a temperature above 0."""
    if request.temperature > 0 and request.seed is None:
        return None
    asked = {name: value for name, value in asdict(request).items() if name not in UNDECIDING}
    served = [model.base_model, model.adapter, model.engine_name, model.renderer.fingerprint]
    return hashlib.sha256(json.dumps([served, asked], default=dict).encode()).hexdigest()
