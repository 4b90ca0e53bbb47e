"""Clients in environments of their own: bitcoinlib, @bitcoinerlab/explorer, and a browser.

scripts/foreign_clients installs them; without it, node or chromium these tests are skipped.
"""

import shutil

import pytest

from chain.primitives.numbers import id_text
from tests.api.foreign import (
    ADDRESS,
    CLIENTS,
    PYTHON,
    grow,
    needs_module,
    needs_npm,
    needs_program,
    seen_by,
    start,
)
from tests.api.harness import listening, wait_for_listeners

pytestmark = pytest.mark.net
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@needs_module("bitcoinlib")
def test_bitcoinlib_reads_and_sends(on_node, tmp_path):
    async def scenario(node):
        txid, raw = await grow(node)
        async with listening(node) as url:
            program = CLIENTS / "use_bitcoinlib.py"
            seen = await seen_by(tmp_path, PYTHON, program, f"{url}/api", ADDRESS, txid, raw)
        tx = node.chain.blocks[-1].transactions[1]
        value = tx.outputs[0].value
        assert (seen["height"], seen["balance"]) == (102, value)
        assert seen["coins"] == [[txid, value]]
        assert seen["history"] == [[txid, "confirmed", 102, 1000]]
        assert (seen["raw"], seen["spent"]) == (tx.raw.hex(), False)
        assert seen["fee"] >= 1000
        assert seen["block"] == [id_text(t.txid) for t in node.chain.blocks[-1].transactions]
        assert seen["waits"] == [seen["sent"]] == [id_text(node.sent_txs[0].txid)]

    on_node(scenario)


@needs_npm("@bitcoinerlab/explorer")
def test_bitcoinerlab_explorer_reads_and_sends(on_node, tmp_path):
    async def scenario(node):
        txid, raw = await grow(node)
        async with listening(node) as url:
            program = CLIENTS / "use_explorer.cjs"
            seen = await seen_by(tmp_path, "node", program, f"{url}/api", ADDRESS, txid, raw)
            genesis = await node.rpc("getblockheader", await node.rpc("getblockhash", 0))
        tx = node.chain.blocks[-1].transactions[1]
        assert (seen["connected"], seen["height"]) == (True, 102)
        assert seen["address"] == {
            "balance": tx.outputs[0].value,
            "txCount": 1,
            "unconfirmedBalance": 0,
            "unconfirmedTxCount": 0,
        }
        assert [(one["txId"], one["blockHeight"]) for one in seen["history"]] == [(txid, 102)]
        assert seen["block"]["blockHash"] == genesis["hash"]
        assert seen["block"]["blockTime"] == genesis["time"]
        assert seen["raw"] == tx.raw.hex()
        assert len(seen["fees"]) == 28
        assert seen["sent"] == id_text(node.sent_txs[0].txid)
        assert seen["refused"]

    on_node(scenario)


@needs_program(*BROWSERS)
@needs_module("playwright")
def test_a_reader_clicks_through_the_explorer_and_sees_a_block_appear(on_node, tmp_path):
    browser = next(filter(None, map(shutil.which, BROWSERS)))

    async def scenario(node):
        txid, _ = await grow(node)
        async with listening(node) as url:
            command = (browser, url, txid, ADDRESS)
            process = await start(tmp_path, PYTHON, CLIENTS / "use_browser.py", *command)
            told = {}
            async for line in process.stdout:
                word, _, rest = line.decode().strip().partition(" ")
                told[word] = rest
                if word == "waiting":
                    await wait_for_listeners(node, 1)
                    await node.mine()
            assert await process.wait() == 0
        assert told["home"].startswith("Height 102")
        assert told["block"].startswith("Block 102")
        assert told["transaction"].startswith("Transaction")
        assert told["address"] == "Address"
        assert told["mempool"] == "Mempool"
        assert told["found"].startswith("Block 102")
        assert told["docs"]
        assert told["peers"] == "Peers"
        assert told["appeared"] == "the same page"
        assert told["narrow"] == "False 0", "on a phone, nothing is too wide or squeezed"
        assert told["scrolled"] == "50", "a new block leaves a table where it was scrolled to"
        assert told["troubles"] == "[]", "no script failed, and nothing was asked of another host"

    on_node(scenario)
