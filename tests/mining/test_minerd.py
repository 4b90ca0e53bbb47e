"""pooler's cpuminer (`minerd`) mines for a node, where it is installed; skipped where it is not."""

import shutil
import subprocess

import pytest

from chain.primitives.address import script_address
from chain.primitives.transaction import decode_transaction
from tests.builders import KEY, Key, output_of, pay, spend
from tests.end_to_end.processes import CLEAN, NodeProcess, wait_until

MINERD = shutil.which("minerd")
ADDRESS = script_address(KEY.script, "bcrt")


@pytest.mark.net
@pytest.mark.skipif(MINERD is None, reason="minerd (pooler's cpuminer) is not installed here")
def test_minerd_mines_blocks_with_segwit_transactions_in_them(tmp_path):
    node = NodeProcess(tmp_path).start()
    node.mine(101, ADDRESS)
    first = decode_transaction(bytes.fromhex(_coinbase(node, 1)["hex"]))
    value = first.outputs[0].value
    payment = spend([(output_of(first), first.outputs[0])], [pay(value - 1000, Key(2))])
    txid = node.rpc("sendrawtransaction", payment.raw.hex())
    user, _, password = (tmp_path / "regtest" / ".cookie").read_text().partition(":")
    command = [MINERD, "-a", "sha256d", "-t", "1", "-q", "--no-getwork", "--no-stratum", "-R", "2"]
    command += ["-o", f"{node.api}/", "-u", user, "-p", password, "--coinbase-addr", ADDRESS]
    miner = subprocess.Popen(command, env=CLEAN, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_until(lambda: node.height >= 104, "minerd mined three blocks")
    finally:
        miner.terminate()
        miner.communicate(timeout=10)
    assert node.get(f"/api/tx/{txid}/status").json()["confirmed"]
    assert node.stop() == 0


def _coinbase(node, height):
    block = node.rpc("getblock", node.rpc("getblockhash", height), 2)
    return block["tx"][0]
