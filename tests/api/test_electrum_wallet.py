"""Debian's Electrum, a daemon and its command line, through e-x (ElectrumX) on a node.

scripts/foreign_clients installs e-x; on Debian, apt install electrum. What is not there is skipped.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from chain.consensus.params import GRAINS_PER_GROAT, REGTEST
from chain.primitives.address import address_script, script_address
from chain.primitives.numbers import id_text
from chain.primitives.transaction import Transaction, TxOut
from tests.api.electrumx import electrum_server
from tests.api.foreign import needs_module, needs_program, start, stop
from tests.api.harness import OTHER, Running
from tests.builders import spend
from tests.patience import PATIENCE_S

pytestmark = [pytest.mark.net, pytest.mark.slow]
FEE = 1000
Read = Callable[[Any], Any]


def height(info: Any) -> Any:
    """Return the height in `getinfo`."""
    return info["blockchain_height"]


def last(history: Any) -> Any:
    """Return the id and the height of the newest transaction in `onchain_history`."""
    newest = history["transactions"][-1]
    return newest["txid"], newest["height"]


class Electrum:
    """A wallet of Electrum in `folder`, driven by its command line."""

    def __init__(self, folder: Path):
        self.folder = folder

    def command(self, *words: object) -> tuple[object, ...]:
        return ("electrum", "--regtest", "-D", self.folder / "electrum", *words)

    async def run(self, *words: object) -> Any:
        process = await start(self.folder, *self.command(*words))
        output, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        assert process.returncode == 0, (words, output)
        try:
            return json.loads(output)
        except ValueError:
            return output.decode().strip()

    async def until(self, wanted: Any, *words: object, read: Read = lambda answer: answer) -> None:
        """Repeat a command until `read` of its output is `wanted`."""
        seen = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                while seen != wanted:
                    seen = read(await self.run(*words))
        except TimeoutError:
            raise AssertionError(f"{words} gave {seen}, not {wanted}") from None


@asynccontextmanager
async def electrum(port: int) -> AsyncIterator[Electrum]:
    """Make a wallet, and run Electrum's daemon with it against one server until the end.

    Its folder has a short name: the path of the daemon's Unix socket may have 107 bytes.
    """
    with TemporaryDirectory() as folder:
        async with electrum_in(Path(folder), port) as wallet:
            yield wallet


@asynccontextmanager
async def electrum_in(folder: Path, port: int) -> AsyncIterator[Electrum]:
    wallet = Electrum(folder)
    await wallet.run("create", "--offline")
    server = ("--oneserver", "--server", f"127.0.0.1:{port}:t")
    daemon = await start(folder, *wallet.command("daemon", *server))
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not (folder / "electrum" / "regtest" / "daemon").exists():
                assert daemon.returncode is None
                await asyncio.sleep(0.1)
        await wallet.run("load_wallet")
        yield wallet
    finally:
        await stop(daemon)


def paid(node: Running, at: int, script: bytes) -> Transaction:
    """Return a payment of the coinbase coin of a height to a script."""
    point, coin = node.chain.coinbase_coin(at)
    return spend([(point, coin)], [TxOut(coin.value - FEE, script)])


@needs_program("electrum")
@needs_module("electrumx")
def test_electrum_receives_pays_and_survives_a_reorganisation(on_node, tmp_path):
    async def scenario(node):
        await node.grow(102)
        async with electrum_server(node, tmp_path) as port, electrum(port) as wallet:
            await wallet.until(102, "getinfo", read=height)
            address = await wallet.run("getunusedaddress")
            received = paid(node, 1, address_script(address, REGTEST.address_prefixes))
            await node.pool(received)
            whole = 50 - FEE / GRAINS_PER_GROAT
            await wallet.until({"confirmed": "0", "unconfirmed": f"{whole:.5f}"}, "getbalance")
            await node.mine([received], fees=FEE)
            await wallet.until({"confirmed": f"{whole:.5f}"}, "getbalance")

            target = script_address(OTHER.script, REGTEST.address_prefixes)
            signed = await wallet.run("payto", "--fee", "0.00001", target, "7.5")
            txid = await wallet.run("broadcast", signed)
            sent = node.sent_txs[0]
            assert id_text(sent.txid) == txid
            assert TxOut(75 * GRAINS_PER_GROAT // 10, OTHER.script) in sent.outputs
            fork = node.chain.fork(0)
            await node.mine([sent], fees=FEE)
            await wallet.until((txid, 104), "onchain_history", read=last)
            left = {"confirmed": f"{whole - 7.5 - 0.00001:.5f}"}
            assert await wallet.run("getbalance") == left

            await node.connect(*fork.grow(2, extra=b"fork"))
            await wallet.until(105, "getinfo", read=height)
            await wallet.until((txid, 0), "onchain_history", read=last)
            await node.connect(fork.add([sent], fees=FEE))
            await wallet.until((txid, 106), "onchain_history", read=last)
            assert await wallet.run("getbalance") == left

    on_node(scenario)
