"""A file that is replaced durably is the old one or the new one, and nothing is left beside it."""

import os
from pathlib import Path

import pytest

from chain.durable_file import replace_file


def test_a_file_that_cannot_be_replaced_stays_and_leaves_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "peers.json"
    replace_file(path, b"old")
    assert path.stat().st_mode & 0o777 == 0o600

    def full(_number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*peers\.json"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in Path(tmp_path).iterdir()] == ["peers.json"]


def test_a_file_that_may_not_be_overwritten_stays(tmp_path):
    path = tmp_path / "keys.json"
    replace_file(path, b"first", overwrite=False)
    with pytest.raises(FileExistsError):
        replace_file(path, b"second", overwrite=False)
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed_and_a_living_ones_stays(tmp_path):
    path = tmp_path / "peers.json"
    dead = tmp_path / f".peers.json.{2**22 + 1}.0123abcd"  # over the greatest process id
    alive = tmp_path / f".peers.json.{os.getpid()}.0123abcd"
    dead.write_bytes(b"")
    alive.write_bytes(b"")
    replace_file(path, b"new")
    assert sorted(tmp_path.iterdir()) == [alive, path]
