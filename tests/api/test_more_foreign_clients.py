"""Clients in environments of their own: bitcoinlib, @bitcoinerlab/explorer, and a browser.

scripts/foreign_clients installs them; without it, node or chromium these tests are skipped.
"""

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest

from chain.primitives.address import script_address
from chain.primitives.numbers import id_text
from tests.api.harness import OTHER, Running, listening, payment, wait_for_listeners

pytestmark = pytest.mark.net
FOREIGN = Path(__file__).resolve().parents[2] / ".foreign"
PYTHON = FOREIGN / "venv" / "bin" / "python"
CLIENTS = Path(__file__).parent / "clients"
ADDRESS = script_address(OTHER.script, "bcrt")
MISSING = "scripts/foreign_clients was not run"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


async def start(folder: Path, *command: object) -> asyncio.subprocess.Process:
    """Start a client whose home is `folder`."""
    environment = {"HOME": str(folder), "PATH": os.environ["PATH"]}
    environment["NODE_PATH"] = str(FOREIGN / "node_modules")
    pipe = asyncio.subprocess.PIPE
    words = [str(word) for word in command]
    return await asyncio.create_subprocess_exec(*words, stdout=pipe, env=environment)


async def seen_by(folder: Path, *command: object) -> dict:
    """Return what a client prints."""
    process = await start(folder, *command)
    output, _ = await process.communicate()
    assert process.returncode == 0, output
    return json.loads(output.splitlines()[-1])


async def grow(node: Running) -> tuple[str, str]:
    """Make 102 blocks, the last with a payment to ADDRESS; return its id, and another payment."""
    await node.grow(101)
    paid = payment(node, 1)
    await node.mine([paid], fees=1000)
    return id_text(paid.txid), payment(node, 2).raw.hex()


@pytest.mark.skipif(not PYTHON.exists(), reason=MISSING)
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


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node here")
@pytest.mark.skipif(not (FOREIGN / "node_modules").exists(), reason=MISSING)
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


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="there is no chromium here")
@pytest.mark.skipif(not PYTHON.exists(), reason=MISSING)
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
