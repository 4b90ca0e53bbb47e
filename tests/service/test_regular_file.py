"""A pipe, a device, a socket or a folder in place of a file is refused at once, and named."""

import contextlib
import errno
import os
import signal
import stat
import subprocess
import sys

import pytest

from chain.durable_file import replace_file
from chain.ledger.db.lock import FileLock
from chain.ledger.errors import LedgerError
from chain.regular_file import NotRegularError, TooLongError, open_to_append, read_regular_file
from chain.service.api.access.cookie import COOKIE_NAME, remove_cookie
from chain.service.node_log import LOG_NAME, _File
from chain.service.peers import store
from chain.text_file import TextFileError, read_text_file

WAIT_S = 3.0


def pipe(path):
    os.mkfifo(path, 0o600)


def endless(path):
    path.symlink_to("/dev/zero")


def socket(path):
    os.mknod(path, stat.S_IFSOCK | 0o600)


def folder(path):
    path.mkdir()


KINDS = [pipe, endless, socket, folder]


@contextlib.contextmanager
def at_once():
    """Fail what would wait forever."""

    def stop(*_):
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, WAIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


READERS = {
    "text file": lambda path: read_text_file(path, 100),
    "peers.json": lambda path: store.load(path.parent),
    "bytes": lambda path: read_regular_file(path, 100),
}


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("reader", READERS)
def test_no_reader_waits_or_reads_without_end(tmp_path, make, reader):
    path = tmp_path / store.FILE_NAME
    make(path)
    with at_once(), pytest.raises((OSError, TextFileError)) as caught:
        READERS[reader](path)
    assert str(path) in str(caught.value)
    if make in {pipe, endless}:
        assert "not a regular file" in str(caught.value)


@pytest.mark.parametrize("make", KINDS)
def test_a_lock_file_is_a_regular_file(tmp_path, make):
    make(tmp_path / "x.sqlite.lock")
    with at_once(), pytest.raises(LedgerError, match=r"cannot write to .*x\.sqlite\.lock: "):
        FileLock(tmp_path / "x.sqlite")


@pytest.mark.parametrize("make", [pipe, socket, folder])
def test_a_log_that_is_a_pipe_or_a_folder_is_refused(tmp_path, make):
    make(tmp_path / LOG_NAME)
    with at_once(), pytest.raises(OSError, match=LOG_NAME):
        _File(tmp_path / LOG_NAME)


def test_a_log_may_be_thrown_away(tmp_path):
    (tmp_path / LOG_NAME).symlink_to("/dev/null")
    _File(tmp_path / LOG_NAME).close()


@pytest.mark.parametrize("make", KINDS)
def test_a_cookie_that_somebody_exchanged_is_left_alone(tmp_path, make):
    make(tmp_path / COOKIE_NAME)
    with at_once(), contextlib.suppress(IsADirectoryError):
        remove_cookie(tmp_path, "0" * 64)
    assert os.path.lexists(tmp_path / COOKIE_NAME)


@pytest.mark.parametrize("make", KINDS)
def test_a_file_is_saved_in_place_of_anything_but_a_folder(tmp_path, make):
    make(tmp_path / "x")
    with at_once():
        if make is folder:
            with pytest.raises(IsADirectoryError):
                replace_file(tmp_path / "x", b"new")
        else:
            replace_file(tmp_path / "x", b"new")
            assert (tmp_path / "x").read_bytes() == b"new"


def test_a_file_is_read_up_to_its_limit(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"123")
    assert read_regular_file(path, 3) == b"123"
    with pytest.raises(TooLongError) as caught:
        read_regular_file(path, 2)
    assert caught.value.errno == errno.EFBIG
    with open_to_append(path) as file:
        file.write(b"4")
    assert path.read_bytes() == b"1234"
    endless(tmp_path / "zero")
    with pytest.raises(NotRegularError):
        open_to_append(tmp_path / "zero")


FILES = ["ledger.sqlite", "ledger.sqlite.lock", "mempool.dat", "peers.json", "node.log"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "make"),
    [*((name, pipe) for name in FILES), ("mempool.dat", endless), ("peers.json", endless)],
)
def test_a_node_ends_in_one_line_where_one_of_its_files_is_something_else(tmp_path, name, make):
    home = tmp_path / "regtest"
    home.mkdir()
    make(home / name)
    command = [sys.executable, "-m", "chain", "node", "--network", "regtest", "--datadir"]
    command += [str(tmp_path), "--p2p", "127.0.0.1:0", "--api", "127.0.0.1:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("groat: ")
    assert str(home / name) in last
    assert "Traceback" not in done.stderr
