"""One request sees the chain and the mempool at one instant."""

import asyncio
import threading

import pytest

from chain.consensus.params import REGTEST
from chain.primitives.address import script_address
from chain.primitives.numbers import id_text
from chain.service.api.snapshot import open_snapshot
from chain.service.api.state.port import SnapshotUnavailableError
from tests.api.harness import OTHER
from tests.builders import pay, spend
from tests.patience import PATIENCE_S


@pytest.mark.parametrize("turns", [4, pytest.param(12, marks=pytest.mark.slow)])
def test_transaction_is_never_in_neither_place_nor_in_both(on_node, turns):
    """It moves from the mempool into a block, and by reorganisations out of it and in again."""

    async def scenario(node):
        await node.grow(101)
        point, coin = node.chain.coinbase_coin(1)
        tx = spend([(point, coin)], [pay(coin.value - 1000, OTHER)])
        await node.pool(tx)
        done = asyncio.Event()
        places = set()

        async def watch():
            while not done.is_set():
                await asyncio.sleep(0)  # a read on the event loop lets nothing else run
                found = await node.get(f"/api/tx/{id_text(tx.txid)}")
                assert found.status_code == 200, found.text
                places.add(found.json()["status"].get("block_height"))
                both = await node.json(
                    f"/api/address/{script_address(OTHER.script, REGTEST.address_prefixes)}"
                )
                waits, is_in = both["mempool_stats"], both["chain_stats"]
                assert waits["tx_count"] + is_in["tx_count"] == 1, both
                assert waits["funded_txo_sum"] + is_in["funded_txo_sum"] == coin.value - 1000
                outputs = await node.json(
                    f"/api/address/{script_address(OTHER.script, REGTEST.address_prefixes)}/utxo"
                )
                assert len(outputs) == 1, outputs

        async def move():
            for turn in range(turns):
                extra = b"turn %d" % turn
                without = node.chain.fork(0)
                await node.mine([tx], fees=1000, extra=extra)  # into a block
                await node.connect(*without.grow(2, extra=extra))  # out of it
                again = without.fork(2)
                again.add([tx], fees=1000, extra=extra + b" again")
                again.grow(2, extra=extra + b" again")
                await node.connect(*again.blocks[-3:])  # in again, without a return between
                back = again.fork(3)
                await node.connect(*back.grow(4, extra=extra + b" back"))  # and out
                node.chain = back
            done.set()

        watchers = [asyncio.create_task(watch()) for _ in range(3)]
        await move()
        await asyncio.gather(*watchers)
        assert None in places, "it was seen waiting"
        assert len(places) > 1, "it was seen in blocks"

    on_node(scenario)


def test_a_look_at_the_node_as_it_is_waits_for_the_publication_of_a_commit(on_node):
    """Between the two, neither the old nor the new mempool matches the database."""

    def looked(node):
        with open_snapshot(node.context, state=node.context.node_state) as snapshot:
            return snapshot.tip.id

    async def scenario(node):
        await node.grow(1)
        block, child = node.chain.grow(2)
        committed, published = threading.Event(), threading.Event()

        def commit_and_dawdle():
            node.ledger.add_block(block, 1_800_000_000)
            committed.set()
            published.wait(PATIENCE_S)
            node.context.node.submit_block(child, 1_800_000_000)

        writing = asyncio.create_task(node.context.call(commit_and_dawdle))
        await asyncio.to_thread(committed.wait, PATIENCE_S)
        reading = asyncio.create_task(asyncio.to_thread(looked, node))
        await asyncio.sleep(0.05)
        assert not reading.done()
        assert await node.text("/api/blocks/tip/height") == "1"  # of the last publication's look
        assert (await node.json("/api/blocks"))[0]["id"] == id_text(block.id), "it is committed"
        published.set()
        await writing
        assert await reading == child.id

    on_node(scenario)


def test_a_look_at_the_node_as_it_is_gives_up_when_no_publication_comes(on_node, monkeypatch):
    monkeypatch.setattr("chain.service.api.state.live_state.WAIT_S_MAX", 0.05)

    async def scenario(node):
        block = node.chain.add()
        await node.context.call(lambda: node.ledger.add_block(block, 1_800_000_000))
        state = node.context.node_state
        with pytest.raises(SnapshotUnavailableError), open_snapshot(node.context, state=state):
            pass

    on_node(scenario)
