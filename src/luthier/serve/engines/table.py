"""The engines by name. Each is handed the specification of its process and loads what it needs by itself.

What a specification holds: `engine`, a name of the table; `base`, the folder of the base model, or a GGUF file;
`adapters`, LoRA folders by name, which may be left out. Beyond that, the keys of the engine's own `open`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from luthier.errors import ModelError
from luthier.serve.engines.engine import Engine

Spec = Mapping[str, Any]
Open = Callable[[Spec], Engine]


def _torch(spec: Spec) -> Engine:
    from luthier.serve.engines.torch_engine import open_engine

    return open_engine(spec)


def _llama_cpp(spec: Spec) -> Engine:
    from luthier.serve.engines.llama_cpp import open_engine

    return open_engine(spec)


ENGINES: dict[str, Open] = {"torch": _torch, "llama_cpp": _llama_cpp}


def open_engine(spec: Spec) -> Engine:
    """The engine that a specification describes. Raises ModelError where there is none of its name."""
    name = spec["engine"]
    if name not in ENGINES:
        raise ModelError(f"no engine is called `{name}`", mend=f"There are {', '.join(ENGINES)}")
    return ENGINES[name](spec)
