"""Files on disk: private, whole after any crash, and held by one command at a time."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from chain.consensus.params import REGTEST
from tests.patience import PATIENCE_S
from wallet.errors import FileError
from wallet.keys.account import open_account
from wallet.keys.keyfile import Cost, seal
from wallet.keys.secret import Secret
from wallet.store.files import locked, make_private_folder, read_private, write_private
from wallet.store.folder import wallet_folder

# Saves in a child that is killed at its n-th call into C, for n = 1, 2, ... until one gets through.
# After each death the file must be the old or the new one, whole. Prints how often it was which.
KILLER = """
import os, signal, sys
from pathlib import Path
from wallet.store.files import write_private, read_private
path, old, new = Path(sys.argv[1]), b"o" * 5000, b"n" * 6000
counts, survived, at = {old: 0, new: 0}, False, 0
while not survived:
    at += 1
    write_private(path, old)
    child = os.fork()
    if not child:
        left = at
        def strike(frame, event, argument):
            global left
            if event == "c_call":
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.setprofile(strike)
        write_private(path, new)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    survived = os.waitstatus_to_exitcode(status) == 0
    counts[read_private(path, 10_000)] += 1
    write_private(path, old)
    assert os.listdir(path.parent) == [path.name], "what the killed one left is gone"
print(at, counts[old], counts[new])
"""


def test_kill_at_any_call_of_a_save_leaves_the_old_or_the_new_file(tmp_path):
    command = [sys.executable, "-c", KILLER, str(tmp_path / "keys.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True)
    tried, old, new = map(int, done.stdout.split())
    assert tried == old + new > 10
    assert old > 1
    assert new > 1


def test_leftovers_of_the_living_and_of_other_files_are_left_alone(tmp_path):
    write_private(tmp_path / "keys.json", b"keys")
    kept = [f".keys.json.{os.getpid()}.aa", ".keys.json.backup.aa", ".state.json.999999999.aa"]
    for name in kept:
        (tmp_path / name).write_bytes(b"")
    write_private(tmp_path / "keys.json", b"new keys")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "keys.json"])


def test_every_folder_that_is_made_is_synced_in_the_one_above(tmp_path, monkeypatch):
    """Else a power cut takes a wallet whose words were never written down (H10)."""
    synced, fsync = [], os.fsync

    def fsync_and_note(descriptor):
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync_and_note)
    folder = wallet_folder(tmp_path / "a" / "b", REGTEST, "mine")
    secret = Secret("abandon " * 11 + "about")
    account = open_account(secret, REGTEST).encode()
    folder.create(seal(secret, None, network="regtest", account=account, cost=Cost(4)))
    made = ["a", "a/b", "a/b/regtest", "a/b/regtest/wallets", "a/b/regtest/wallets/mine"]
    for path in made:
        assert str((tmp_path / path).parent) in synced, path
    assert str(folder.path) in synced
    assert str(folder.path / "keys.json") not in synced, "it was synced under its temporary name"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_modes_do_not_depend_on_the_umask(tmp_path, umask):
    folder = tmp_path / "wallet"
    before = os.umask(umask)
    try:
        make_private_folder(folder)
        write_private(folder / "file", b"data")
        with locked(folder / "lock"):
            pass
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "file").stat().st_mode & 0o777 == 0o600
    assert (folder / "lock").stat().st_mode & 0o077 == 0
    assert [path.name for path in folder.iterdir()].count("file") == 1
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize(
    ("mode", "accepted"),
    [(0o600, True), (0o400, True), (0o640, False), (0o604, False), (0o610, False), (0o602, False)],
)
def test_file_that_others_may_use_is_refused(tmp_path, mode, accepted):
    path = tmp_path / "file"
    write_private(path, b"data")
    path.chmod(mode)
    if accepted:
        assert read_private(path, 10) == b"data"
    else:
        with pytest.raises(FileError, match="chmod 600"):
            read_private(path, 10)


@pytest.mark.parametrize(("size", "accepted"), [(10, True), (11, False)])
def test_file_over_its_limit_is_refused(tmp_path, size, accepted):
    path = tmp_path / "file"
    write_private(path, b"x" * size)
    if accepted:
        assert len(read_private(path, 10)) == size
    else:
        with pytest.raises(FileError, match="too long"):
            read_private(path, 10)


def test_pipe_in_the_place_of_a_file_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(FileError, match="not a regular file"):
        read_private(tmp_path / "pipe", 10)


def test_new_file_never_overwrites(tmp_path):
    path = tmp_path / "file"
    write_private(path, b"first", overwrite=False)
    with pytest.raises(FileError, match="exists already"):
        write_private(path, b"second", overwrite=False)
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_lock_keeps_others_out_until_it_is_dropped(tmp_path):
    inside, released = threading.Event(), threading.Event()
    order = []

    def second():
        inside.wait(PATIENCE_S)
        with locked(tmp_path / "lock"):
            order.append("second")
            assert released.is_set()

    thread = threading.Thread(target=second)
    thread.start()
    with locked(tmp_path / "lock"):
        inside.set()
        order.append("first")
        released.set()
    thread.join(PATIENCE_S)
    assert order == ["first", "second"]


def test_lock_of_a_killed_process_is_free(tmp_path):
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom wallet.store.files import locked\n"
        "with locked(Path(sys.argv[1])):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "lock")]
    assert subprocess.run(command, timeout=30, check=False).returncode == -9
    with locked(tmp_path / "lock"):
        pass


def test_lock_that_stays_held_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("wallet.store.files._LOCK_WAIT_S", 0.0)
    with (
        locked(tmp_path / "lock"),
        pytest.raises(FileError, match="another command"),
        locked(tmp_path / "lock"),
    ):
        pass
