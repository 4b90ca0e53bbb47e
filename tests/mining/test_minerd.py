"""pooler's cpuminer (`minerd`) mines for a node, where it is installed; skipped where it is not.

GROAT_MINERD may hold the command, for instance `wine64 minerd.exe`.
"""

import os
import shlex
import shutil
import subprocess

import pytest

from chain.consensus.params import REGTEST
from chain.primitives.address import script_address
from chain.primitives.transaction import decode_transaction
from tests.builders import KEY, Key, output_of, pay, spend
from tests.end_to_end.processes import CLEAN, NodeProcess, wait_until
from tests.patience import PATIENCE_S

MINERD = shlex.split(os.environ.get("GROAT_MINERD", "")) or list(
    filter(None, [shutil.which("minerd")])
)
ADDRESS = script_address(KEY.script, REGTEST.address_prefixes)
# Up to 2.5.0 it knows Base58 alone: here the address of twenty zero bytes on regtest (P2PKH).
ZERO_HASH_ADDRESS = "mfWxJ45yp2SFn7UciZyNpvDKrzbhyfKrY8"
ZERO_HASH_SCRIPT = bytes.fromhex("76a914") + bytes(20) + bytes.fromhex("88ac")


@pytest.mark.net
@pytest.mark.skipif(not MINERD, reason="minerd (pooler's cpuminer) is not installed here")
def test_minerd_mines_blocks_with_segwit_transactions_in_them(tmp_path):
    node = NodeProcess(tmp_path).start()
    node.mine(101, ADDRESS)
    first = decode_transaction(bytes.fromhex(_coinbase(node, 1)["hex"]))
    value = first.outputs[0].value
    payment = spend([(output_of(first), first.outputs[0])], [pay(value - 1000, Key(2))])
    txid = node.rpc("sendrawtransaction", payment.raw.hex())
    address, script = (
        (ADDRESS, KEY.script) if _knows_bech32() else (ZERO_HASH_ADDRESS, ZERO_HASH_SCRIPT)
    )
    user, _, password = (tmp_path / "regtest" / ".cookie").read_text().partition(":")
    command = [*MINERD, "-a", "sha256d", "-t", "1", "-q", "--no-getwork", "--no-stratum", "-R", "2"]
    command += ["-o", f"{node.api}/", "-u", user, "-p", password, "--coinbase-addr", address]
    miner = subprocess.Popen(
        command, env=CLEAN, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: node.height >= 104, "minerd mined three blocks", timeout_s=60)
    finally:
        miner.terminate()
        miner.wait(timeout=PATIENCE_S)
    mined = _coinbase(node, 102)
    assert mined["vout"][0]["scriptPubKey"]["hex"] == script.hex()
    assert mined["vin"][0]["txinwitness"] == ["00" * 32]  # which minerd leaves out
    assert node.get(f"/api/tx/{txid}/status").json()["confirmed"]
    assert node.stop() == 0


def _coinbase(node, height):
    block = node.rpc("getblock", node.rpc("getblockhash", height), 2)
    return block["tx"][0]


def _knows_bech32():
    told = subprocess.run(
        [*MINERD, "--version"], env=CLEAN, capture_output=True, text=True, check=True
    )
    version = told.stdout.split()[1]
    return tuple(map(int, version.split("."))) >= (2, 5, 1)
