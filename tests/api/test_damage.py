"""A ledger that rots under a running node: one line, the node ends, and no wrong reply."""

import contextlib
import sqlite3

from chain.ledger.errors import LedgerError
from chain.primitives.numbers import id_text
from tests.api.harness import RecordingHost, payment

_BLOCK_7 = "(SELECT id FROM chain WHERE height = 7)"
# What rots, and what is asked for then.
ROT = (
    ("UPDATE history SET value = value + 1 WHERE number = 7 << 16", "/api/address/{address}"),
    ("UPDATE history SET number = number + 1 WHERE number = 7 << 16", "/api/address/{address}"),
    ("UPDATE history SET script = zeroblob(16) WHERE number = 7 << 16", "/api/address/{address}"),
    ("DELETE FROM history WHERE number = 7 << 16", "/api/address/{address}/txs"),
    ("DELETE FROM history WHERE number = 7 << 16", "/api/address/{address}/utxo"),
    ("DELETE FROM history WHERE number = 7 << 16", "/address/{address}"),
    ("UPDATE history SET value = 'much' WHERE number = 7 << 16", "/api/address/{address}"),
    ("UPDATE index_digests SET digests = x'00'", "/api/address/{address}"),
    ("DELETE FROM index_digests", "/api/address/{address}"),
    ("DROP TABLE history", "/api/address/{address}"),
    ("DELETE FROM transactions WHERE number = 7 << 16", "/api/tx/{txid}"),
    ("DELETE FROM transactions WHERE number = 7 << 16", "/api/tx/{txid}/status"),
    ("DELETE FROM transactions WHERE number = 7 << 16", "/tx/{txid}"),
    ("DELETE FROM transactions WHERE number = 7 << 16", "/api/block/{block}/txs"),
    ("UPDATE transactions SET number = 99 << 16 WHERE number = 7 << 16", "/api/tx/{txid}"),
    ("UPDATE transactions SET start = start + 1 WHERE number = 7 << 16", "/api/tx/{txid}"),
    ("UPDATE transactions SET size = 'x' WHERE number = 7 << 16", "/api/tx/{txid}"),
    ("UPDATE transactions SET checksum = zeroblob(8) WHERE number = 7 << 16", "/api/tx/{txid}"),
    ("UPDATE transactions SET checksum = x'' WHERE number = 7 << 16", "/api/tx/{txid}"),
    ("UPDATE transactions SET checksum = NULL WHERE number = 7 << 16", "/api/tx/{txid}"),
    (f"DELETE FROM blocks WHERE id = {_BLOCK_7}", "/api/block/{block}/raw"),
    (f"UPDATE blocks SET raw = x'00' WHERE id = {_BLOCK_7}", "/api/block/{block}/raw"),
    (f"UPDATE blocks SET checksum = CAST(x'FF' AS TEXT) WHERE id = {_BLOCK_7}", "/block/{block}"),
    (f"UPDATE blocks SET checksum = 5 WHERE id = {_BLOCK_7}", "/block/{block}"),
    ("UPDATE chain SET id = zeroblob(32) WHERE height = 7", "/api/tx/{txid}"),
    ("UPDATE headers SET raw = zeroblob(80) WHERE height = 7", "/api/tx/{txid}"),
    ("DELETE FROM coins WHERE height = 7", "/api/tx/{txid}/outspend/0"),
    ("UPDATE meta SET value = zeroblob(32) WHERE name = 'tip'", "/api/blocks"),
)
SPENT_ROT = (
    "DELETE FROM undo",
    "UPDATE undo SET raw = x'0102'",
    "UPDATE undo SET raw = 5",
    "UPDATE undo SET raw = substr(raw, 1, length(raw) - 1)",
    # In the offset of its coins, in their checksum, in their value.
    "UPDATE undo SET raw = CAST(substr(raw, 1, 1) || x'01' || substr(raw, 3) AS BLOB)",
    "UPDATE undo SET raw = CAST(substr(raw, 1, 8) || x'FF' || substr(raw, 10) AS BLOB)",
    "UPDATE undo SET raw = CAST(substr(raw, 1, 16) || x'FF' || substr(raw, 18) AS BLOB)",
)
RPC = (
    ("UPDATE coins SET value = value + 1 WHERE height = 7", "gettxout", ["{txid}", 0]),
    ("UPDATE coins SET height = 6 WHERE height = 7", "gettxout", ["{txid}", 0]),
    ("DELETE FROM coins WHERE height = 7", "gettxout", ["{txid}", 0]),
    ("DELETE FROM coins WHERE height = 7", "scantxoutset", ["start", ["addr({address})"]]),
    ("DELETE FROM coins WHERE height = 7", "gettxoutsetinfo", []),
    ("UPDATE chain SET tx_count = 2 WHERE height = 7", "getchaintxstats", []),
    ("DELETE FROM transactions WHERE number = 7 << 16", "getrawtransaction", ["{txid}", 2]),
)


@contextlib.contextmanager
def rotten(node, statement):
    """Change the database on disk, and undo it at the end."""
    file = node.context.reader._engine.url.database
    with (
        contextlib.closing(sqlite3.connect(file)) as live,
        contextlib.closing(sqlite3.connect(":memory:")) as kept,
    ):
        live.backup(kept)
        live.execute(statement)
        assert live.total_changes or statement.startswith("DROP")
        live.commit()
        yield
        kept.backup(live)


async def some_chain(node):
    """Make seven blocks; return values for the paths and calls."""
    await node.grow(7)
    block = node.chain.blocks[6]
    return {
        "block": id_text(block.id),
        "txid": id_text(block.transactions[0].txid),
        "address": (await node.rpc("getrawtransaction", id_text(block.transactions[0].txid), 2))[
            "vout"
        ][0]["scriptPubKey"]["address"],
    }


async def check_served(node, paths):
    for path in paths:
        assert (await node.get(path)).status_code == 200, path


def check_reported(reply, failures):
    assert reply.status_code == 503, reply.text
    assert "\n" not in reply.text.rstrip("\n"), "one line"
    assert "damaged" in reply.text
    assert "groat check" in reply.text
    assert len(failures) == 1
    assert isinstance(failures.pop(), LedgerError)


def test_no_page_and_no_endpoint_serves_rot(on_node):
    host = RecordingHost()

    async def scenario(node):
        names = await some_chain(node)
        for statement, path in ROT:
            path = path.format(**names)  # noqa: PLW2901
            await check_served(node, [path])
            with rotten(node, statement):
                check_reported(await node.get(path), host.failures)
            await check_served(node, [path])  # the rot is gone again
        assert not host.failures

    on_node(scenario, host=host)


def test_what_a_payment_spent_is_not_served_once_it_rots(on_node):
    host = RecordingHost()

    async def scenario(node):
        await node.grow(101)
        block = await node.mine([payment(node)])
        txid = id_text(block.transactions[1].txid)
        [paid, *_] = (await node.json(f"/api/tx/{txid}"))["vin"]
        address = paid["prevout"]["scriptpubkey_address"]
        paths = [f"/api/tx/{txid}", f"/tx/{txid}", f"/api/block/{id_text(block.id)}/txs"]
        paths += [f"/api/address/{address}/txs", f"/address/{address}"]
        for statement in SPENT_ROT:
            with rotten(node, statement):
                for path in paths:
                    check_reported(await node.get(path), host.failures)
        await check_served(node, paths)
        assert not host.failures

    on_node(scenario, host=host)


def test_no_rpc_method_serves_rot(on_node):
    host = RecordingHost()

    async def scenario(node):
        names = await some_chain(node)
        for statement, method, params in RPC:
            filled = [
                [p.format(**names) for p in param]
                if isinstance(param, list)
                else param.format(**names)
                if isinstance(param, str)
                else param
                for param in params
            ]
            await node.rpc(method, *filled)
            with rotten(node, statement):
                request = {"id": 1, "method": method, "params": filled}
                check_reported(await node.post_rpc(request), host.failures)

    on_node(scenario, host=host)


def test_a_hidden_transaction_is_no_404(on_node):
    """An unknown one is not reported as hidden."""
    host = RecordingHost()

    async def scenario(node):
        await some_chain(node)
        assert (await node.get(f"/api/tx/{'ab' * 32}")).status_code == 404
        assert not host.failures

    on_node(scenario, host=host)


def test_a_hidden_spend_is_told(on_node):
    host = RecordingHost()

    async def scenario(node):
        await node.grow(101)
        spent = node.chain.blocks[0].transactions[0]
        await node.mine([payment(node)], fees=1000)
        path = f"/api/tx/{id_text(spent.txid)}/outspend/0"
        assert (await node.json(path))["spent"] is True
        with rotten(node, "DELETE FROM history WHERE slot = 1 AND number > 102 << 16"):
            check_reported(await node.get(path), host.failures)

    on_node(scenario, host=host)
