"""Making the files by which llama.cpp serves a model, and asking whether it then says what the model says."""

from __future__ import annotations

import fcntl
import gc
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from luthier.data.example import Example
from luthier.data.render import Renderer
from luthier.data.rendered import Rendered
from luthier.errors import NotFound
from luthier.evaluate import retention
from luthier.jobs.in_service import registered
from luthier.jobs.llama_files import SERVED, LlamaFiles, known_llama
from luthier.jobs.prepare import renderer_of
from luthier.models.export.formats import Subject, merged_gguf, write_base
from luthier.models.export.gguf_file import Numbers
from luthier.models.load import load_base, load_policy
from luthier.models.locate import locate
from luthier.models.packaged import published_gguf
from luthier.models.score import likeliest
from luthier.registry import versions
from luthier.serve.agreement import Agreement, Thoughts, agreement
from luthier.serve.engines.llama_cpp import LlamaEngine
from luthier.store import Home, exports

FEWER_FIRST: tuple[Numbers, ...] = ("q8_0", "f16")
"""What a base may be held in, the faster first; a file that was published as GGUF stands in for the first."""
PLACES, QUESTIONS, TEXTS = 16, 12, 12
"""Tokens of each row that are compared, and how many rows there are of each kind."""
LONGEST = 256
"""Tokens of a row, after which it is cut."""
Note = Callable[[str], None]
Reference = tuple[list[tuple[Sequence[int], Sequence[int]]], Thoughts]
"""Rows with the places that are compared, and what the model thinks there."""
Marked = tuple[Rendered, int, list[int], list[int]]
"""Rows, the number of one of them, its ids, and the places that are compared."""


def ensure_llama(home: Home, subject: Subject, note: Note = lambda text: None) -> LlamaFiles:
    """The files by which llama.cpp serves a model, made and compared with the model where that was never done.

    The base is taken as it was published in GGUF, or in eight bits; in sixteen where llama.cpp, which then rounds what
    it multiplies by these weights as well, is too far from the model. Raises ModelError where llama.cpp cannot run it.
    """
    known = known_llama(home, subject.name, subject.sha256)
    return known or _made(home, subject, note)


def _made(home: Home, subject: Subject, note: Note) -> LlamaFiles:
    reference = _reference(subject)
    for numbers in FEWER_FIRST:
        gguf = _file(home, subject, numbers, note)
        note(f"{subject.name}: comparing llama.cpp with the model")
        held = str(subject.files.quantised) if gguf == published_gguf(subject.files.name) else numbers
        found = LlamaFiles(gguf, held, subject.plain, _compare(subject, gguf, reference))
        if found.agreement.ok:
            break
    measured = {"held": found.held, "adapter": found.adapter, "agreement": asdict(found.agreement)}
    exports.add(home, model=subject.name, format=SERVED, path=found.gguf, sha256=subject.sha256, measured=measured)
    return found


def subject_of(home: Home, model: str, note: Note = lambda text: None) -> Subject:
    """A registered version, or a base model. Raises NotFound or ModelError where there is none of this name."""
    try:
        found = versions.get(home, model)
    except NotFound:
        if "@" in model and not Path(model).exists():
            raise
        files = locate(model, home.cache("models"), note)
        return Subject(files.name, files, None, Renderer.from_folder(files.folder), files.sha256)
    plan, folder = registered(home, found)
    recipe = plan.settings
    files = locate(recipe.base_model, home.cache("models"), note, recipe.number_format)
    made = hashlib.sha256(f"{files.weights_key} {found.adapter_sha256} {recipe.chat_template}".encode())
    return Subject(found.ref, files, folder / "adapter", renderer_of(files, recipe), made.hexdigest())


def _reference(subject: Subject) -> Reference:
    """What the model itself thinks of general texts and of short questions with their answers."""
    questions, texts = retention.load()
    rows = [*_marked(subject, texts[:TEXTS], "pretrain"), *_marked(subject, questions[:QUESTIONS], "sft")]
    policy = load_base(subject.files) if subject.adapter is None else load_policy(subject.files, subject.adapter)
    thoughts = [likeliest(policy, rendered, number)[: len(own)] for rendered, number, _, own in rows]
    del policy
    gc.collect()
    return [(ids, own) for _, _, ids, own in rows], thoughts


def _compare(subject: Subject, gguf: Path, reference: Reference) -> Agreement:
    adapters = {subject.name: subject.adapter} if subject.plain and subject.adapter else {}
    engine = LlamaEngine(gguf, subject.files.folder, adapters)
    try:
        return agreement(engine, *reference, subject.name if adapters else None)
    finally:
        engine.close()


def _marked(subject: Subject, rows: Sequence[Example], form: str) -> list[Marked]:
    """Rows, as far as they can be rendered, with the first places of each that have a target."""
    if form == "sft" and not subject.renderer.chats:
        return []
    rendered = subject.renderer.rows(rows, sequence_len=LONGEST, truncation="right", objective=form)  # type: ignore[arg-type]
    found = []
    for number in range(len(rendered)):
        ids, weights = rendered.row(number)
        found.append((rendered, number, ids.tolist(), np.flatnonzero(weights)[:PLACES].tolist()))
    return found


def _file(home: Home, subject: Subject, numbers: Numbers, note: Note) -> Path:
    """The GGUF file, from the cache where it was made before."""
    alone = subject.adapter is None or subject.plain
    published = published_gguf(subject.files.name) if alone and numbers == FEWER_FIRST[0] else None
    made_from = subject.files.sha256 if alone else subject.sha256
    write = partial(write_base if alone else merged_gguf, subject, numbers=numbers)
    return published or _once(home.cache("llama") / f"{made_from[:32]}-{numbers}.gguf", write, note)


def _once(target: Path, write: Callable[[Path], None], note: Note) -> Path:
    """Several processes may come here at once: the first writes, the others wait for it."""
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            note(f"writing {target.name} for llama.cpp, once")
            with TemporaryDirectory(dir=target.parent) as folder:
                write(Path(folder) / target.name)
                (Path(folder) / target.name).rename(target)
    return target
