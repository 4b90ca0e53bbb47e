"""Large replies: at least one is always sent, a few at a time, never an unlimited number."""

import asyncio

import pytest

from chain.consensus.coin import Coin
from chain.consensus.params import REGTEST
from chain.primitives.address import script_address
from chain.primitives.numbers import id_text, outpoint
from chain.primitives.script import OP_RETURN
from chain.primitives.transaction import TxOut
from chain.service.api.access import budget
from chain.service.api.access.budget import ReplyBudget, TooMuchInFlightError
from tests.api.harness import OTHER, listening, until
from tests.builders import pay, spend

ADDRESS = script_address(OTHER.script, REGTEST.address_prefixes)
LARGE_BYTES = 60_000  # of each transaction
PATHS = (f"/api/address/{ADDRESS}/txs", "/api/block/{block}/txs", "/api/block/{block}/raw")
PATHS += ("/api/tx/{tx}", "/api/tx/{tx}/hex", "/api/tx/{tx}/raw", f"/address/{ADDRESS}")


async def grow_large(node, count=25):
    """Make an address whose newest transactions are all large; return the last block."""
    await node.grow(101)
    point, coin = node.chain.coinbase_coin(1)
    first = spend([(point, coin)], [pay(coin.value, OTHER)])
    await node.mine([first])
    point, value = outpoint(first.txid, 0), coin.value
    data = TxOut(
        0, bytes([OP_RETURN, 0x4D]) + LARGE_BYTES.to_bytes(2, "little") + bytes(LARGE_BYTES)
    )
    for _ in range(count):
        own = Coin(value, OTHER.script, height=102, from_coinbase=False)
        tx = spend([(point, own)], [pay(value, OTHER), data], key=OTHER)
        block = await node.mine([tx])
        point = outpoint(tx.txid, 0)
    return block


def small_limits(monkeypatch):
    monkeypatch.setattr(budget, "LARGE_BYTES_MIN", LARGE_BYTES // 2)
    monkeypatch.setattr(budget, "IN_FLIGHT_BYTES_MAX", 3 * LARGE_BYTES)


def test_large_replies_are_refused_while_others_are_on_their_way(on_node, monkeypatch):
    small_limits(monkeypatch)

    async def scenario(node):
        block = await grow_large(node)
        names = {"block": id_text(block.id), "tx": id_text(block.transactions[1].txid)}
        kept = node.context.limits.budget
        for path in PATHS:
            assert (await node.get(path.format(**names))).status_code == 200
            assert kept.taken == 0
        kept.take(3 * LARGE_BYTES)
        for path in PATHS:
            reply = await node.get(path.format(**names))
            assert (reply.status_code, reply.headers["Retry-After"]) == (503, "1")
        for path in ("/api/blocks", f"/api/address/{ADDRESS}", f"/api/address/{ADDRESS}/utxo"):
            assert (await node.get(path)).status_code == 200
        kept.give_back(3 * LARGE_BYTES)
        page = await node.json(f"/api/address/{ADDRESS}/txs")
        assert len(page) == 25
        assert all(tx["size"] > LARGE_BYTES for tx in page)

    on_node(scenario)


@pytest.mark.net
def test_a_reply_counts_until_the_last_of_it_is_taken(on_node, monkeypatch):
    small_limits(monkeypatch)

    async def scenario(node):
        await grow_large(node)
        path = f"/api/address/{ADDRESS}/txs"
        async with listening(node) as url:
            host, port = url.removeprefix("http://").split(":")
            _reader, writer = await asyncio.open_connection(host, int(port), limit=1)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            await until(lambda: node.context.limits.budget.taken)
            assert (await node.get(path)).status_code == 503
            assert (await node.get("/api/blocks/tip/height")).text == "127"
            writer.close()  # gone without reading it
            await until(lambda: not node.context.limits.budget.taken)
            assert (await node.get(path)).status_code == 200

    on_node(scenario)


def test_one_alone_is_never_too_large_and_the_last_that_fits_is_taken():
    kept, most = ReplyBudget(), budget.IN_FLIGHT_BYTES_MAX
    kept.take(2 * most)
    with pytest.raises(TooMuchInFlightError):
        kept.take(1)
    kept.give_back(2 * most)
    kept.take(1)
    kept.take(most - 1)
    with pytest.raises(TooMuchInFlightError):
        kept.take(1)


def test_small_replies_do_not_count_until_they_add_up():
    kept = ReplyBudget()
    with kept.reservation() as reserved:
        reserved.take(budget.LARGE_BYTES_MIN - 1)
        assert kept.taken == 0
        reserved.take(1)
        assert kept.taken == budget.LARGE_BYTES_MIN
    assert kept.taken == 0
