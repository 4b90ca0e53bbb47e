"""A change of the password: the old file or the new one is there, whatever happens."""

import errno
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.wallet.conftest import ABANDON
from wallet.keys.keyfile import KeyFile

OLD, NEW = "correct horse", "battery staple"


@pytest.fixture
def path(cli):
    cli.make(password=OLD)
    return cli.datadir / "regtest/wallets/default/keys.json"


def words(cli, password):
    return cli.json("show-seed", stdin=f"{password}\n")["words"].split()


def test_the_new_password_opens_the_wallet_and_the_old_one_does_not(cli, path):
    before = json.loads(path.read_bytes())
    done = cli.json("password", stdin=f"{OLD}\n{NEW}\n")
    assert done == {"wallet": "default", "network": "regtest", "state": "encrypted"}
    assert words(cli, NEW) == ABANDON.split()
    assert cli.error("show-seed", code=5, stdin=f"{OLD}\n") == "wrong password"
    after = json.loads(path.read_bytes())
    assert after["account"] == before["account"]
    assert after["nonce"] != before["nonce"]
    assert after["kdf"]["salt"] != before["kdf"]["salt"]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("stdin", "code", "said"),
    [
        (f"wrong\n{NEW}\n", 5, "wrong password"),
        (f"{OLD}\n", 2, "new password expected"),
        (f"{OLD}\n\n", 2, "cannot be empty"),
        ("", 2, "password expected"),
    ],
)
def test_a_change_that_is_refused_changes_nothing(cli, path, stdin, code, said):
    before = path.read_bytes()
    assert said in cli.error("password", stdin=stdin, code=code)
    assert path.read_bytes() == before


def test_passwords_from_descriptors(cli, path):
    descriptors = []
    for text in (OLD, NEW):
        reader, writer = os.pipe()
        os.write(writer, f"{text}\n".encode())
        os.close(writer)
        descriptors.append(reader)
    old, new = map(str, descriptors)
    cli.run("password", "--password-fd", old, "--new-password-fd", new)
    for each in descriptors:
        os.close(each)
    assert words(cli, NEW) == ABANDON.split()


def test_a_wallet_without_a_password_gets_one_and_loses_it_again(cli):
    cli.make()
    cli.run("password", stdin=f"{NEW}\n")
    assert words(cli, NEW) == ABANDON.split()
    assert "no password" in cli.run("password", "--no-password", stdin=f"{NEW}\n").stdout
    assert cli.json("show-seed")["words"] == ABANDON


def test_on_main_a_password_cannot_be_removed(cli):
    cli.network = "main"
    cli.make(password=OLD)
    error = cli.error("password", "--no-password", stdin=f"{OLD}\n", code=5)
    assert "devnet and regtest only" in error
    assert words(cli, OLD) == ABANDON.split()


def test_a_watching_wallet_has_no_password(cli, eye):
    assert "watch-only" in cli.error("password", wallet=eye, stdin=f"{OLD}\n{NEW}\n", code=5)


@pytest.mark.parametrize("call", ["fsync", "write", "replace"])
def test_a_full_disk_leaves_the_old_password(cli, path, monkeypatch, call):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    cli.run("address")  # so that the folder has all its files
    before = path.read_bytes()
    with monkeypatch.context() as patched:
        if call == "replace":
            patched.setattr(Path, "replace", fail)
        elif call == "fsync":
            patched.setattr(os, "fsync", fail)
        else:
            patched.setattr("chain.durable_file.open", lambda *_: fail(), raising=False)
        error = cli.error("password", stdin=f"{OLD}\n{NEW}\n", code=5)
    assert "No space left" in error
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir() if "keys" in each.name] == ["keys.json"]
    assert words(cli, OLD) == ABANDON.split()


def test_a_new_file_that_would_not_open_is_not_written(cli, path, monkeypatch):
    before = path.read_bytes()
    real = KeyFile.open
    with monkeypatch.context() as patched:
        patched.setattr(
            KeyFile, "open", lambda file, text: real(file, text) if text == OLD else None
        )
        assert "does not open" in cli.error("password", stdin=f"{OLD}\n{NEW}\n", code=5)
    assert path.read_bytes() == before


def test_a_key_file_that_is_a_link_stays_one(cli, path):
    stick = cli.datadir / "stick.json"
    path.rename(stick)
    path.symlink_to(stick)
    cli.run("password", stdin=f"{OLD}\n{NEW}\n")
    assert path.is_symlink()
    assert stick.stat().st_mode & 0o777 == 0o600
    assert words(cli, NEW) == ABANDON.split()


@pytest.mark.slow
@pytest.mark.parametrize("tries", [1, 2, 3])
def test_passwords_that_differ_are_asked_again(cli, path, tries):
    lines = [b"one wrong", b"another"] * (tries - 1) + [NEW.encode()] * 2
    shown = typed(cli, [OLD.encode(), *lines], "password")
    assert shown.count(b"differ") == tries - 1
    assert NEW.encode() not in shown
    assert words(cli, NEW) == ABANDON.split()


def typed(cli, lines, *command):
    """Return what a terminal shows; a line is typed whenever a password is asked for."""
    master, slave = pty.openpty()
    flags = ["--network", "regtest", "--datadir", str(cli.datadir), *command]
    with subprocess.Popen(
        [sys.executable, "-m", "wallet", *flags],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    ) as process:
        os.close(slave)
        shown, answered = b"", 0
        try:
            while part := os.read(master, 1024):
                shown += part
                while answered < len(lines) and shown.lower().count(b": ") > answered:
                    os.write(master, lines[answered] + b"\n")
                    answered += 1
        except OSError:  # Linux: the other end was closed
            pass
        assert process.wait(30) == 0, shown
    os.close(master)
    return shown
