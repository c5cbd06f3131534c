"""Model folders from the Hugging Face hub, in the hub's own cache."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from luthier.errors import ModelError

FILES = ["*.safetensors", "*.json", "*.txt", "*.jinja", "README.md"]
TIMEOUT_SECONDS = 4


def hub_folder(name: str, note: Callable[[str], None]) -> Path:
    """Downloads safetensors, configuration and tokenizer of hub id `name` into the hub's own cache.

    Where the hub does not answer within 4 seconds, or HF_HUB_OFFLINE is set, a copy in that cache is used and
    `note` is told. Raises ModelError: no such model, no access to it, or no answer and no copy.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # it asks the hub a second question first
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    note(f"{name}: asking the hub")
    try:
        commit = HfApi().model_info(name, timeout=TIMEOUT_SECONDS).sha
    except GatedRepoError as error:
        raise _no_access(name) from error
    except RepositoryNotFoundError as error:
        mend = "Check the spelling; a private model needs HF_TOKEN"
        raise ModelError(f"there is no folder `{name}`, and the hub has no such model", mend=mend) from error
    except Exception as error:  # the classes depend on the HTTP client of the hub's library
        return _cached(name, error, note)
    note(f"{name}: downloading what is not in {_hub_cache()}")
    try:
        return Path(snapshot_download(name, revision=commit, allow_patterns=FILES, ignore_patterns=["*/*"]))
    except GatedRepoError as error:
        raise _no_access(name) from error
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
        raise ModelError(f"`{name}` could not be downloaded ({cause})", mend="Run it again: it goes on") from error


def hub_copy(name: str) -> Path | None:
    """The copy of hub id `name` in the hub's own cache, without asking the hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=FILES, ignore_patterns=["*/*"], local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def hub_silence() -> str | None:
    """Why the hub does not answer within 4 seconds; None where it does."""
    from urllib.request import urlopen

    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        urlopen(f"{ENDPOINT}/api/models?limit=1", timeout=TIMEOUT_SECONDS).close()
    except OSError as error:  # URLError is one
        return str(getattr(error, "reason", None) or error)
    return None


def _cached(name: str, reason: Exception, note: Callable[[str], None]) -> Path:
    folder = hub_copy(name)
    if folder is None:
        raise ModelError(
            f"there is no folder `{name}`, and the hub cannot be reached ({type(reason).__name__})",
            mend="Go online, give the folder of a local copy, or use a packaged model: smollm2-135m-instruct",
        ) from reason
    note(f"{name}: the hub cannot be reached, the copy in {_hub_cache()} is used")
    return folder


def _hub_cache() -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    return HF_HUB_CACHE


def _no_access(name: str) -> ModelError:
    return ModelError(f"`{name}` is given only on request", mend=f"Ask on https://hf.co/{name}, then set HF_TOKEN")
