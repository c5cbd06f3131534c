"""Datasets of the Hugging Face hub, by name: their data files are downloaded and read like a folder."""

from __future__ import annotations

from pathlib import Path

from luthier.data.sources.files import READERS
from luthier.errors import DataError

PREFIX = "hub:"
TIMEOUT_SECONDS = 4


def download(name: str) -> Path:
    """The local folder, or file, of `hub:owner/name` or `hub:owner/name/path/in/it`.

    Files in the hub's own cache are used where the hub does not answer within 4 seconds. Raises `DataError`
    where there is no answer and no copy, or no such dataset.
    """
    owner, _, rest = name.removeprefix(PREFIX).partition("/")
    dataset, _, inside = rest.partition("/")
    if not owner or not dataset:
        raise DataError("a hub name has the form hub:owner/name", name, "Give the owner and the dataset's name")
    patterns = [inside] if inside else [f"*{kind}{end}" for kind in READERS for end in ("", ".gz")]
    folder = _snapshot(f"{owner}/{dataset}", patterns, name)
    return folder / inside if inside else folder


def _snapshot(repository: str, patterns: list[str], name: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HTTPError, RepositoryNotFoundError

    try:
        commit = HfApi().dataset_info(repository, timeout=TIMEOUT_SECONDS).sha
    except RepositoryNotFoundError as error:
        mend = "Check the spelling; a private dataset needs HF_TOKEN"
        raise DataError("the hub has no such dataset", name, mend) from error
    except (OSError, HTTPError) as error:
        return _cached(repository, patterns, name, error)
    try:
        return Path(snapshot_download(repository, repo_type="dataset", revision=commit, allow_patterns=patterns))
    except (OSError, HTTPError) as error:
        raise DataError(f"the download broke off ({error})", name, "Run it again: it goes on") from error


def _cached(repository: str, patterns: list[str], name: str, reason: Exception) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = snapshot_download(repository, repo_type="dataset", allow_patterns=patterns, local_files_only=True)
    except LocalEntryNotFoundError as error:
        what = f"the hub cannot be reached ({type(reason).__name__}), and its cache has no copy"
        raise DataError(what, name, "Go online, or give the path of a local copy") from error
    return Path(folder)
