"""A file that is replaced durably is the old one or the new one, and nothing is left beside it."""

import os
import socket
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from chain.api_address import published_api_address
from chain.durable_file import replace_file
from chain.endpoint import Endpoint
from chain.service.api.access.cookie import remove_cookie, write_cookie
from chain.service.hand_on import SECRET_NAME, SocketPath, _remove_secret


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


def leave_cookie(folder):
    return partial(remove_cookie, folder, write_cookie(folder))


def leave_socket(folder):
    where, bound = SocketPath(folder), socket.socket(socket.AF_UNIX)
    with bound:
        where.bind(bound)
    return where.remove


def leave_secret(folder):
    path = folder / SECRET_NAME
    path.write_bytes(b"mine")
    return partial(_remove_secret, path, "mine")


def leave_address(folder):
    stack = ExitStack()
    stack.enter_context(published_api_address(folder, Endpoint("127.0.0.1", 1)))
    return stack.close


@pytest.mark.parametrize("leave", [leave_cookie, leave_socket, leave_secret, leave_address])
def test_a_file_that_cannot_be_removed_at_the_end_hides_no_other_error(tmp_path, caplog, leave):
    """The folder is no folder any more, as after a wrong `mv`."""
    folder = tmp_path / "regtest"
    folder.mkdir()
    remove = leave(folder)
    remove()
    assert not list(folder.iterdir())
    assert not caplog.records
    remove = leave(folder)
    folder.rename(tmp_path / "moved")
    folder.touch()
    remove()
    assert [record.getMessage().partition(str(folder))[0] for record in caplog.records] == [
        "cannot remove "
    ]
    assert caplog.records[0].getMessage().endswith(": Not a directory")
