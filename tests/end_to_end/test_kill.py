"""A node that is killed has the transactions that it had accepted, without any peer's help."""

import sqlite3
from contextlib import closing

import pytest

from chain.consensus.coin import Coin
from chain.consensus.params import REGTEST
from chain.primitives.address import script_address
from chain.primitives.block import decode_block
from tests.builders import KEY, output_of
from tests.end_to_end.processes import NodeProcess
from tests.node.world import output, send


def count(folder, table):
    with closing(sqlite3.connect(folder / "regtest" / "ledger.sqlite")) as connection:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


@pytest.mark.net
@pytest.mark.slow
def test_a_killed_node_has_every_transaction_that_a_client_was_answered(tmp_path):
    node = NodeProcess(tmp_path, ["--no-discovery"]).start()
    ids = node.mine(101, script_address(KEY.script, REGTEST.address_prefixes))
    block = decode_block(bytes.fromhex(node.rpc("getblock", ids[0], 0)))
    out = block.transactions[0].outputs[0]
    coin = Coin(out.value, out.script, 1, from_coinbase=True)
    first = send([(output_of(block.transactions[0]), coin)], 10_000)
    second = send([output(first)], 10_000)
    txids = [node.rpc("sendrawtransaction", tx.raw.hex()) for tx in (first, second)]
    node.rpc("prioritisetransaction", txids[1], 0, 77)
    node.kill()  # each answer came after the commit that has it
    node.start()
    assert sorted(node.mempool()) == sorted(txids)
    assert node.rpc("getmempoolentry", txids[1])["fees"]["modified"] > 0.0001
    [mined] = node.mine(1, script_address(KEY.script, REGTEST.address_prefixes))
    node.kill()
    node.start()
    assert (node.tip, node.mempool()) == (mined, [])
    assert not (tmp_path / "regtest" / "mempool.dat").exists()
    assert "Traceback" not in node.errors()
    assert node.stop() == 0
