"""A data directory of an earlier release goes on in this one: ledger, mempool, bans and wallets.

data/9697a37.tar.xz was made by the node and wallet of that commit on regtest: 104 blocks, a payment
that waits with a fee delta, a ban until 2100, a wallet without and one with a password. The node
was stopped by SIGTERM.
"""

import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from chain.primitives.hashes import sha256d
from chain.service.pool_keeper import POOL_NAME
from tests.end_to_end.processes import CLEAN, NodeProcess, WalletCommand

ARCHIVE = Path(__file__).with_name("data") / "9697a37.tar.xz"
TIP = "735cf28d9a3de28342c191f17314395a8679ca948a4438bfffceed5cab16771f"
WAITING = "d4a839a320d49b5201ab8a76694d3fe0c61b52f1411b52c09617462d6bf5507a"
PASSWORD = "secret-password\n"
TIME_AT = 48  # of the only transaction in mempool.dat, after magic, version, identity and count
GRAINS = 100_000_000

pytestmark = [pytest.mark.net, pytest.mark.slow]


@pytest.fixture
def folder(tmp_path):
    """The data directory, with the payment as if it had just arrived: it would expire otherwise."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    pool = tmp_path / "regtest" / POOL_NAME
    body = bytearray(pool.read_bytes()[:-32])
    body[TIME_AT : TIME_AT + 8] = int(time.time()).to_bytes(8, "little")
    pool.write_bytes(bytes(body) + sha256d(bytes(body)))
    return tmp_path


def pay_from_locked(wallet: WalletCommand, address: str, amount: str) -> None:
    """Pay from the wallet that has a password."""
    command = [sys.executable, "-m", "wallet", "-w", "locked", "--network", "regtest"]
    command += ["--datadir", str(wallet.folder), "--node", wallet.node.api + "/api"]
    command += ["send", address, amount, "--yes"]
    done = subprocess.run(
        command, input=PASSWORD, capture_output=True, text=True, env=CLEAN, check=False
    )
    assert done.returncode == 0, done.stderr


def test_node_and_wallets_go_on_with_what_an_earlier_release_left(folder):
    node = NodeProcess(folder).start()
    wallet = WalletCommand(folder, node)
    try:
        assert (node.height, node.tip, node.mempool()) == (104, TIP, [WAITING])
        assert node.rpc("getprioritisedtransactions")[WAITING]["fee_delta"] == 500
        [ban] = node.rpc("listbanned")
        assert (ban["address"], ban["banned_until"]) == ("192.0.2.0/24", 4_102_444_800)
        assert not (folder / "regtest" / POOL_NAME).exists(), "it is in the database now"

        balance = wallet.json("balance")
        assert balance["trusted"] == 24_374_999_436
        [first, *_] = [one for one in wallet.json("addresses") if one["label"]]
        assert first["label"] == "rent"
        assert wallet.json("-w", "locked", "balance")["untrusted_pending"] == 125_000_000

        node.mine(1, first["address"])
        assert node.mempool() == []
        pay_from_locked(wallet, first["address"], "2")
        node.mine(1, first["address"])
        assert wallet.json("balance")["trusted"] >= 24_374_999_436 + 2 * GRAINS
        assert node.rpc("verifychain", 4, 0) is True
    finally:
        code = node.stop()
    assert (code, "Traceback" in node.errors()) == (0, False)
