"""llama.cpp's server inside this process (xllamacpp): a base from a GGUF file, LoRA adapters on it, and slots.

A slot keeps the keys and values of what it has read last. A stream cannot be stopped while a prompt is read.
"""

from __future__ import annotations

import ctypes
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from luthier.errors import MissingExtra, ModelError
from luthier.serve.engines.characters import Characters
from luthier.serve.engines.engine import SURE, Token

READ_TOKENS = 512
"""Of prompts at a time, between two tokens of the answers under way."""


@dataclass(frozen=True)
class Wish:
    """Some more tokens after `ids`, in `slot`, under adapter number `adapter` or none.

    `keep`: whether the slot may use what it remembers. `top`: how many alternatives of each token are wanted beside
    its log-probability; None for neither.
    """

    slot: int
    ids: Sequence[int]
    count: int
    adapter: int | None = None
    keep: bool = True
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    bias: Mapping[int, float | bool] = field(default_factory=dict)
    top: int | None = None


@dataclass(frozen=True)
class Form:
    """How a server is laid out: `slots` of `context` tokens, keys and values in numbers of 16 or 32 bits.

    `end` is the id of a token without text, `size` how many tokens the vocabulary has.
    """

    slots: int
    context: int
    bits: int
    threads: int
    end: int
    size: int


@dataclass
class Ear:
    """Hears a stream: `known` are the ids so far, `lost` how many after them have no name. A call says whether to stop.

    What is raised in a call nobody sees: it is kept in `error`.
    """

    characters: Characters
    hear: Callable[[list[Token]], bool]
    known: list[int] = field(default_factory=list)
    lost: int = 0
    error: Exception | None = None

    def __call__(self, found: Mapping[str, Any]) -> bool:
        try:
            return not self._go_on(found)
        except Exception as error:
            self.error = error
            return True

    def _go_on(self, found: Mapping[str, Any]) -> bool:
        if "__verbose" not in found:
            raise _refusal(found)
        said = found["__verbose"]
        ids: list[int] = said["tokens"]
        self.lost = said["tokens_predicted"] - len(self.known) - len(ids)
        if self.lost and ids:
            before = self.characters.before(ids[0], said["content"], self.lost)
            if before is None:
                return False
            ids, self.lost = [*before, *ids], 0
        self.known += ids
        return not ids or self.hear([Token(id) for id in ids])


class LlamaServer:
    """Raises ModelError where llama.cpp cannot load these files, MissingExtra where it is not installed."""

    def __init__(self, model: Path, adapters: Sequence[Path], form: Form, characters: Characters) -> None:
        try:
            import xllamacpp
        except ImportError as error:
            raise MissingExtra("xllamacpp is not installed", mend="Install luthier[serve]") from error
        self.adapters, self.form, self._characters = len(adapters), form, characters
        place = tempfile.mkdtemp(prefix="luthier-")
        try:
            with signals_kept():
                self._server = xllamacpp.Server(_parameters(xllamacpp, model, adapters, form, place))
        except RuntimeError as error:
            raise ModelError("llama.cpp cannot load it", str(model), "Export it again") from error
        finally:
            shutil.rmtree(place)  # the socket has no name from now on: nobody else reaches it
        self._complete(Wish(0, [form.end], 1))  # its loop must run before it can be ended

    def write(self, wish: Wish) -> list[Token]:
        """At most `wish.count` tokens; fewer only after one that ends texts. Raises ModelError if it refuses."""
        found = self._complete(wish)
        tokens = found["__verbose"]["tokens"]
        if wish.top is None:
            return [Token(id) for id in tokens]
        assert wish.count == 1
        logprobs = (found["choices"][0]["logprobs"] or {}).get("content")
        return [_with_logprobs(logprobs[0], wish.top) if logprobs else self._part(wish, tokens[0])]

    def stream(self, wish: Wish, hear: Callable[[list[Token]], bool]) -> None:
        """Tokens as they are written, at most `wish.count`, until `hear` says no or one ends the text.

        `wish.top` is None. Ids of bytes that are no character, and of one that the length cuts, are drawn again; the
        stream ends with them. Raises ModelError if llama.cpp refuses it.
        """
        ear = Ear(self._characters, hear)
        self._server.handle_completions(self._body(wish) | {"stream": True}, ear)
        if ear.error is not None:
            raise ear.error
        if ear.lost:
            hear(self.write(replace(wish, ids=[*wish.ids, *ear.known], count=ear.lost)))

    def _part(self, wish: Wish, id: int) -> Token:
        """The token `id`, which is a part of a character: llama.cpp says nothing of it but that it was written."""
        likely = Wish(wish.slot, wish.ids, 1, wish.adapter, bias={self.form.end: SURE}, top=self.form.size)
        ranked = self._complete(likely)["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        own = next(one["logprob"] for one in ranked if one["id"] == id)
        return Token(id, own, tuple((one["id"], one["logprob"]) for one in ranked[: wish.top]))

    def _complete(self, wish: Wish) -> dict[str, Any]:
        found = self._server.handle_completions(self._body(wish))
        if "__verbose" not in found:
            raise _refusal(found)
        return found

    def _body(self, wish: Wish) -> dict[str, Any]:
        return {
            "prompt": list(wish.ids),
            "id_slot": wish.slot,
            "n_predict": wish.count,
            "lora": [{"id": n, "scale": float(n == wish.adapter)} for n in range(self.adapters)],
            "cache_prompt": wish.keep,
            "temperature": wish.temperature,
            "top_p": wish.top_p,
            "seed": wish.seed,
            "samplers": ["temperature", "top_p"] if wish.temperature else ["top_k"],
            "top_k": 1,
            "logit_bias": [[id, value] for id, value in wish.bias.items()],
            "n_probs": 0 if wish.top is None else max(1, wish.top),
            "return_tokens": True,
            "verbose": True,
        }

    def close(self) -> None:
        """Give the memory back; nothing may be under way."""
        del self._server


def _refusal(found: Mapping[str, Any]) -> ModelError:
    return ModelError(f"llama.cpp refuses it: {found.get('error', found).get('message')}")


def _with_logprobs(found: Mapping[str, Any], top: int) -> Token:
    ranked = tuple((one["id"], one["logprob"]) for one in found["top_logprobs"][:top])
    return Token(found["id"], found["logprob"], ranked)


def _parameters(xllamacpp: Any, model: Path, adapters: Sequence[Path], form: Form, place: str) -> Any:
    """Slots with a memory each, so that no answer's numbers depend on the others; no copies of prompts beside them."""
    found = xllamacpp.CommonParams()
    found.model.path = str(model)
    found.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0) for adapter in adapters]
    found.lora_init_without_apply = True
    found.n_parallel, found.n_ctx, found.kv_unified = form.slots, form.slots * form.context, False
    if form.bits == 32:
        found.cache_type_k = found.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        found.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED  # rounds to 16 bits
    found.n_batch = found.n_ubatch = READ_TOKENS
    found.cpuparams.n_threads = found.cpuparams_batch.n_threads = form.threads
    found.cache_ram_mib, found.n_ctx_checkpoints, found.ctx_shift = 0, 0, False
    found.warmup, found.verbosity, found.n_threads_http = False, 0, 1
    found.hostnames, found.port = [f"{place}/llama.sock"], 0
    return found


@contextmanager
def signals_kept() -> Iterator[None]:
    """Put back what SIGINT and SIGTERM do in this process, which the server takes for itself; from any thread."""
    libc = ctypes.CDLL(None)
    kept = {number: ctypes.create_string_buffer(256) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, action in kept.items():
        libc.sigaction(int(number), None, action)
    try:
        yield
    finally:
        for number, action in kept.items():
            libc.sigaction(int(number), action, None)
