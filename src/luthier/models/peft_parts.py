"""What is used of PEFT, imported without bitsandbytes.

Where that is installed, PEFT loads it to offer layers which nothing here uses: a second, 45 MB and a warning in every
process that trains.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """The package cannot be found meanwhile; one that is loaded already stays."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


with _hidden("bitsandbytes"):
    from peft import (
        AdaLoraConfig,
        IA3Config,
        LoraConfig,
        PeftModel,
        PrefixTuningConfig,
        PromptTuningConfig,
        get_peft_model,
    )
    from peft.import_utils import is_bnb_available
    from peft.tuners.adalora import AdaLoraLayer
    from peft.tuners.lora import Linear as LoraLinear
    from peft.tuners.lora import LoraLayer
    from peft.tuners.lora.variants import DoraLinearVariant
    from peft.tuners.tuners_utils import BaseTunerLayer

    is_bnb_available()  # PEFT asks again when it makes an adapter, and keeps the first answer

__all__ = [
    "AdaLoraConfig", "AdaLoraLayer", "BaseTunerLayer", "DoraLinearVariant", "IA3Config", "LoraConfig", "LoraLayer",
    "LoraLinear", "PeftModel", "PrefixTuningConfig", "PromptTuningConfig", "get_peft_model",
]  # fmt: skip
