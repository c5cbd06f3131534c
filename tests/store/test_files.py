"""Files are whole or not there; a lock belongs to one process and dies with it."""

from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.errors import StoreError
from luthier.store.files import Lock, held, read_json, sha256_file, write_atomic, write_json


def test_a_written_file_has_its_content_and_leaves_no_other(tmp_path: Path) -> None:
    write_atomic(tmp_path / "deep" / "a.txt", "größer")
    write_atomic(tmp_path / "deep" / "a.txt", b"two")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.txt"]
    assert (tmp_path / "deep" / "a.txt").read_bytes() == b"two"


def test_who_reads_a_file_while_it_is_replaced_sees_the_old_one_whole(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.txt", "old")
    with (tmp_path / "a.txt").open() as reader:
        write_atomic(tmp_path / "a.txt", "new")
        assert reader.read() == "old"


def test_a_full_disk_is_a_store_error_that_names_the_path_and_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomic(tmp_path / "a.txt", "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"a\.txt: cannot be written: No space left.*Free some space"):
        write_atomic(tmp_path / "a.txt", "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_writing_below_a_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="LUTHIER_HOME"):
        write_atomic(tmp_path / "file" / "a", "x")


def test_json_comes_back_and_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"loss": [1.5, math.nan, (math.inf,)], "name": "é"})
    assert read_json(tmp_path / "a.json") == {"loss": [1.5, None, [None]], "name": "é"}


def test_unreadable_json_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(StoreError, match=r"a\.json: does not hold JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(StoreError, match=r"b\.json: cannot be read"):
        read_json(tmp_path / "b.json")


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_lock_excludes_others_names_its_process_and_is_free_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "run" / "lock"
    assert not held(path)
    with Lock(path):
        assert held(path)
        with pytest.raises(StoreError, match=f"process {os.getpid()} is working here"), Lock(path):
            pass
    assert not held(path)
    with Lock(path):
        pass


def test_looking_at_a_lock_does_not_keep_others_from_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with Lock(path):
        pass
    program = f"from luthier.store.files import *\nprint('ready', flush=True)\nwhile True: held(Path({str(path)!r}))"
    looker = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert looker.stdout is not None
        looker.stdout.readline()
        for _ in range(500):
            with Lock(path):
                pass
    finally:
        looker.kill()
        looker.wait()


def test_a_killed_process_leaves_its_lock_free(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom luthier.store.files import Lock\n"
        f"with Lock(Path({str(path)!r})):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    worker = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert worker.stdout is not None
    worker.stdout.readline()
    with pytest.raises(StoreError, match=f"kill -INT {worker.pid}"), Lock(path):
        pass
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert not held(path)
