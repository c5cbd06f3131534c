"""Folders, hub names, entries: which files are read, and what their rows are called."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from luthier.data.naming import prefixes
from luthier.data.sources import read
from luthier.data.sources.hub import download
from luthier.errors import DataError
from luthier.recipe.types import DataEntry

ROW = '{"text": "a", "label": "x", "who": "ann"}\n'


def put(path: Path, content: str = ROW) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_a_folder_is_read_in_order_and_rows_bear_their_path_in_it(tmp_path: Path) -> None:
    for name in (
        "rows/b.jsonl",
        "rows/a.jsonl",
        "rows/more/c.jsonl",
        "rows/.hidden/d.jsonl",
        "rows/README.md",
    ):
        put(tmp_path / name)
    source = read(DataEntry(path="rows"), tmp_path)
    assert [e.row_id for e in source.examples] == ["a.jsonl:1", "b.jsonl:1", "more/c.jsonl:1"]
    assert source.files == ("a.jsonl", "b.jsonl", "more/c.jsonl")
    put(tmp_path / "rows/b.jsonl", ROW * 2)
    assert read(DataEntry(path="rows"), tmp_path).sha256 != source.sha256


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl")
    assert read(DataEntry(path="a.jsonl"), tmp_path).sha256 == hashlib.sha256(ROW.encode()).hexdigest()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a.jsonl", "b.csv"], r"mixes types of files \(a.jsonl, b.csv\)"),
        (["train.jsonl", "test-00.jsonl"], r"several splits \(test-00.jsonl, train.jsonl\)"),
        (["notes.md"], "holds no data file"),
    ],
)
def test_folders_that_are_refused(tmp_path: Path, names: list[str], words: str) -> None:
    for name in names:
        put(tmp_path / "rows" / name)
    with pytest.raises(DataError, match=words):
        read(DataEntry(path="rows"), tmp_path)


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    put(tmp_path / "tickets.jsonl")
    with pytest.raises(DataError, match=r"no such file or folder. Did you mean .*tickets\.jsonl\?"):
        read(DataEntry(path="ticket.jsonl"), tmp_path)


def test_an_unknown_type_of_file_lists_the_known(tmp_path: Path) -> None:
    put(tmp_path / "a.xlsx")
    with pytest.raises(DataError, match=r"'.xlsx' are not read. Known types: .jsonl"):
        read(DataEntry(path="a.xlsx"), tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rows", "no ending that says its type"),
        ("a.parquet.gz", "files of type '.parquet.gz' are not read. .* all but Parquet also with .gz"),
    ],
)
def test_endings_that_say_nothing(tmp_path: Path, name: str, words: str) -> None:
    put(tmp_path / name)
    with pytest.raises(DataError, match=words):
        read(DataEntry(path=name), tmp_path)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("https://example.org/a.jsonl", r"^https://example.org/a.jsonl: data is not read from addresses"),
        ("*.jsonl", "patterns are not filled in"),
        ("owner/name", "a dataset of the hub is written hub:owner/name"),
        ("loop.jsonl", "a link that leads nowhere"),
        ("pipe.jsonl", "neither a file nor a folder"),
    ],
)
def test_paths_that_are_no_files(tmp_path: Path, path: str, words: str) -> None:
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(DataError, match=words):
        read(DataEntry(path=path), tmp_path)


def test_a_folder_that_may_not_be_read_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "rows/a.jsonl")
    put(tmp_path / "rows/shut/b.jsonl")
    scandir = os.scandir

    def guarded(path: str) -> object:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(DataError, match=r"shut: it cannot be read \(Permission denied\)"):
        read(DataEntry(path="rows"), tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl").chmod(0)
    with pytest.raises(DataError, match="cannot be read"):
        read(DataEntry(path="a.jsonl"), tmp_path)


def test_weight_licence_and_group_of_an_entry_are_on_every_row(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl")
    entry = DataEntry(path="a.jsonl", weight=0.5, licence="CC0", group="who")
    example = read(entry, tmp_path).examples[0]
    assert (example.weight, example.licence, example.group, example.source) == (0.5, "CC0", "ann", "a.jsonl")
    assert example.extra == {"who": "ann"}


@pytest.mark.parametrize(("group", "words"), [("whom", "'whom' is missing"), ("none", "and is null")])
def test_a_group_that_is_not_there(tmp_path: Path, group: str, words: str) -> None:
    put(tmp_path / "a.jsonl", ROW.replace('"who"', '"none": null, "who"'))
    with pytest.raises(DataError, match=rf"a\.jsonl:1: .*{words}"):
        read(DataEntry(path="a.jsonl", group=group), tmp_path)


def test_files_of_one_name_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    paths = [put(tmp_path / name) for name in ("x/p/a.jsonl", "y/p/a.jsonl", "y/b.jsonl")]
    assert prefixes(paths[1:]) == ["", ""]
    assert prefixes(paths) == ["x/p/", "y/p/", f"{tmp_path.name}/y/"]
    with pytest.raises(DataError, match="belongs to two entries"):
        prefixes([paths[0], paths[0]])


def test_hub_names_without_a_network_are_refused_fast(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", unreachable)
    monkeypatch.setattr("huggingface_hub.snapshot_download", not_cached)
    with pytest.raises(DataError, match=r"hub:owner/rows: the hub cannot be reached \(ConnectionError\)"):
        read(DataEntry(path="hub:owner/rows"), tmp_path)
    with pytest.raises(DataError, match="form hub:owner/name"):
        download("hub:rows")


def unreachable(*arguments: object, **settings: object) -> None:
    raise ConnectionError("no network")


def not_cached(*arguments: object, **settings: object) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    raise LocalEntryNotFoundError("no copy")


def test_a_copy_in_the_hubs_cache_is_read_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    put(tmp_path / "data/part.jsonl")
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", unreachable)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **settings: str(tmp_path))
    assert read(DataEntry(path="hub:owner/rows"), tmp_path).files == ("data/part.jsonl",)
    assert read(DataEntry(path="hub:owner/rows/data/part.jsonl"), tmp_path).files == ("part.jsonl",)
