"""Looking needs no room on the disk and waits for nobody; what cannot be kept is said."""

import contextlib
import json
import os
import resource
import time
from pathlib import Path

import pytest

from chain.primitives.numbers import GRAINS_PER_GROAT
from tests.wallet.conftest import ABANDON
from wallet.keys.account import Keychain
from wallet.store import files
from wallet.store.files import locked

GROAT = GRAINS_PER_GROAT
STRANGER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
LOOKS = [
    ["balance"],
    ["history"],
    ["utxos"],
    ["address"],
    ["address", "--new"],
    ["send", STRANGER, "1", "--dry-run"],
    ["export"],
    ["list"],
    ["info"],
    ["addresses"],
]
DRAFTS = [["psbt", "create", STRANGER, "1"], ["rescan"]]
SILENT = {"export", "list"}  # these have nothing to remember


@contextlib.contextmanager
def full_disk(folder):
    """No file can grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def read_only(folder):
    """Files stand in the way as a read-only mount would: as directories, nobody can open them."""
    for name in ("lock", "cache.sqlite"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()
    try:
        yield
    finally:
        for name in ("lock", "cache.sqlite"):
            (folder / name).rmdir()


@pytest.fixture
def folder(cli, rich):
    return cli.datadir / "regtest" / "wallets" / "default"


@pytest.mark.parametrize("fault", [full_disk, read_only])
@pytest.mark.parametrize("words", LOOKS + DRAFTS, ids=" ".join)
def test_look_answers_where_nothing_can_be_written(cli, folder, fault, words):
    with fault(folder):
        result = cli.run(*words, "--json")
    assert json.loads(result.stdout)
    assert ("could not be saved" in result.stderr) == (words[0] not in SILENT)
    assert cli.run("balance").stderr == ""


@pytest.mark.parametrize("fault", [full_disk, read_only])
@pytest.mark.parametrize("words", [["balance"], ["address"], ["psbt", "create", STRANGER, "1"]])
def test_what_cannot_be_remembered_is_said_in_one_line(cli, folder, fault, words):
    with fault(folder):
        lines = cli.run(*words, "--json").stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("groat-wallet: this could not be saved: ")


@pytest.mark.parametrize(
    ("fault", "what"), [(full_disk, "nothing was sent"), (read_only, "nothing was done")]
)
def test_payment_that_cannot_be_remembered_is_not_sent_and_says_so(
    cli, folder, regtest, fault, what
):
    with fault(folder):
        error = cli.error("send", STRANGER, "1", "--yes", "--json", code=5)
    assert error.endswith(what)
    assert not regtest.mempool
    cli.run("send", STRANGER, "1", "--yes")


@pytest.mark.parametrize("words", [["label", "00" * 32, "x"], ["freeze", "COIN"]])
def test_what_is_to_be_kept_fails_where_it_cannot_be(cli, folder, words):
    coin = cli.json("utxos")[0]
    words = [each.replace("COIN", f"{coin['txid']}:{coin['vout']}") for each in words]
    with full_disk(folder):
        cli.error(*words, code=5)


def test_refusal_is_told_even_if_it_cannot_be_noted(cli, folder, stub, monkeypatch):
    stub.override["/api/tx"] = (400, b"no")
    post, hard = stub.post, resource.getrlimit(resource.RLIMIT_FSIZE)[1]

    def post_and_fill_the_disk(path, body):
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        return post(path, body)

    stub.post = post_and_fill_the_disk
    try:
        error = cli.error("send", STRANGER, "1", "--yes", "--json", code=7)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert error == "the node refused the transaction: no"


@pytest.mark.parametrize("words", LOOKS, ids=" ".join)
def test_look_waits_for_nobody(cli, folder, monkeypatch, words):
    monkeypatch.setattr(files, "_LOCK_WAIT_S", 600.0)
    with locked(folder / "lock"):
        started = time.monotonic()
        result = cli.run(*words, "--json")
        assert time.monotonic() - started < 60
    assert json.loads(result.stdout)
    if words[0] == "address":
        assert "not be saved: another command has locked this wallet" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["send", STRANGER, "1", "--yes"],
        ["label", "00" * 32, "x"],
        ["psbt", "create", STRANGER, "1"],
        ["bump", "00" * 32, "--fee-rate", "5", "--yes"],
        ["rescan"],
    ],
    ids=" ".join,
)
def test_command_that_waits_says_for_whom(cli, folder, monkeypatch, words):
    monkeypatch.setattr(files, "_LOCK_WAIT_S", 0.0)
    with locked(folder / "lock"):
        result = cli.run(*words, code=5)
    first, last = result.stderr.strip().splitlines()
    who = f"another command (process {os.getpid()}) has locked this wallet"
    assert first == f"groat-wallet: {who}: waiting for it to finish"
    assert last == f"groat-wallet: {who}: let it finish first"


@pytest.mark.parametrize("noted", [b"", b"x\x1b[2J", b"999999999", b"\xff" * 20])
def test_holder_that_noted_nothing_is_another_command(tmp_path, noted, monkeypatch):
    monkeypatch.setattr(files, "_LOCK_WAIT_S", 0.0)
    messages = []
    with locked(tmp_path / "lock"):
        (tmp_path / "lock").write_bytes(noted)
        with pytest.raises(files.FileError), locked(tmp_path / "lock", messages.append):
            pass
    assert messages == ["another command has locked this wallet: waiting for it to finish"]


def test_restored_wallet_on_a_full_disk_keeps_nothing(cli, folder, account):
    with full_disk(folder):
        cli.error("restore", "--no-password", wallet="new", stdin=ABANDON, code=5)
    assert [each["wallet"] for each in cli.json("list")] == ["default"]
    assert [each.name for each in folder.parent.iterdir()] == ["default"], "no empty folder is left"
    assert account.address(Keychain.RECEIVE, 1) == cli.json("address")["address"]


def test_a_data_directory_that_cannot_be_made_is_named_with_what_to_do(cli):
    datadir = Path("/proc/groat")
    if not datadir.parent.exists():
        pytest.skip("this system has no /proc, where even root cannot make a folder")
    error = cli.error("create", "--no-password", "--datadir", str(datadir), code=5)
    assert error.startswith(f"the wallet's folder cannot be made: {datadir}")
    assert error.endswith(": choose another by --datadir")


def test_a_file_in_place_of_the_wallets_folder_is_told_as_such(cli, tmp_path):
    (tmp_path / "regtest/wallets").mkdir(parents=True)
    (tmp_path / "regtest/wallets/default").write_bytes(b"")
    error = cli.error("balance", "--datadir", str(tmp_path), code=5)
    assert "a part of this path is a file: choose another by --datadir" in error
