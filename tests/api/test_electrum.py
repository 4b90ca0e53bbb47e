"""e-x (ElectrumX) on a node, and Electrum through it.

scripts/foreign_clients installs e-x; Electrum is Debian's. What is not there is skipped.
"""

import pytest

from chain.primitives.numbers import id_text
from tests.api.electrumx import ElectrumSession, electrum_server, script_hash
from tests.api.foreign import needs_module
from tests.api.harness import OTHER, payment
from tests.builders import KEY

pytestmark = [pytest.mark.net, pytest.mark.slow]
HEADERS = "blockchain.headers.subscribe"
SCRIPTS = "blockchain.scripthash.subscribe"


@needs_module("electrumx")
def test_electrumx_follows_payments_and_a_reorganisation(on_node, tmp_path):
    async def scenario(node):
        await node.grow(101)
        async with electrum_server(node, tmp_path) as port:
            session = await ElectrumSession.open(port, "1.6")
            assert (await session.call(HEADERS))["height"] == 101
            name = script_hash(OTHER.script)
            assert await session.call(SCRIPTS, name) is None
            tx = payment(node)
            value, txid = tx.outputs[0].value, id_text(tx.txid)

            assert await session.call("blockchain.transaction.broadcast", tx.raw.hex()) == txid
            assert (await session.note(SCRIPTS))[0] == name
            balance = await session.call("blockchain.scripthash.get_balance", name)
            assert balance == {"confirmed": 0, "unconfirmed": value}
            [waiting] = await session.call("blockchain.scripthash.get_mempool", name)
            assert (waiting["tx_hash"], waiting["fee"]) == (txid, 1000)

            fork = node.chain.fork(0)
            block = await node.mine([tx], fees=1000)
            assert (await session.note(HEADERS))[0]["hex"] == block.raw[:80].hex()
            await session.note(SCRIPTS)
            proof = await session.call("blockchain.transaction.get_merkle", txid, 102)
            assert (proof["pos"], proof["block_height"]) == (1, 102)
            history = await session.call("blockchain.scripthash.get_history", name)
            assert history == [{"tx_hash": txid, "height": 102}]

            await node.connect(*fork.grow(2, extra=b"fork"))
            while (await session.note(HEADERS))[0]["height"] != 103:
                pass
            await session.note(SCRIPTS)
            history = await session.call("blockchain.scripthash.get_history", name)
            assert history == [{"tx_hash": txid, "height": 0, "fee": 1000}], "it waits again"
            await node.connect(fork.add([tx], fees=1000))
            await session.note(SCRIPTS)
            balance = await session.call("blockchain.scripthash.get_balance", name)
            assert balance == {"confirmed": value, "unconfirmed": 0}
            session.close()

    on_node(scenario)


@needs_module("electrumx")
def test_electrumx_passes_on_what_the_node_says(on_node, tmp_path):
    """Fees, raw and verbose transactions, refusals, spenders: each is a call of the node's."""

    async def scenario(node):
        await node.grow(101)
        async with electrum_server(node, tmp_path) as port:
            session = await ElectrumSession.open(port, "1.7")
            await session.call(HEADERS)
            coinbase = node.chain.blocks[0].transactions[0]
            first = id_text(coinbase.txid)
            assert await session.call("blockchain.transaction.get", first) == coinbase.raw.hex()
            info = await session.call("mempool.get_info")
            assert info["minrelaytxfee"] == 0.00001
            assert await session.call("blockchain.estimatefee", 6) != 0
            assert await session.call("mempool.get_fee_histogram") == []
            wrong = payment(node).raw[:-5] + b"\0\0\0\0\0"
            refused = await session.answer("blockchain.transaction.broadcast", wrong.hex())
            assert "rejected" in refused["error"]["message"]
            tx = payment(node)
            await session.call("blockchain.transaction.broadcast", tx.raw.hex())
            spent = await session.call("blockchain.outpoint.subscribe", first, 0, KEY.script.hex())
            assert spent["spender_txhash"] == id_text(tx.txid)
            session.close()

    on_node(scenario)
