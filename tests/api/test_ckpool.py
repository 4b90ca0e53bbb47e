"""ckpool's whole exchange with its node: bare LFs, no ids, and each answer read up to a line feed.

Its requests are written out here byte by byte, as its `json_rpc_call` makes them.
"""

import asyncio
import base64
import json
from typing import Any

import pytest

from chain.consensus.params import REGTEST
from chain.primitives.address import script_address
from chain.primitives.numbers import id_text
from chain.service.api_process import API_LIMITS
from chain.service.http.listener import Listener
from tests.api.harness import PASSWORD, payment
from tests.builders import KEY
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.net

AUTH = base64.b64encode(f"__cookie__:{PASSWORD}".encode()).decode()


class Ckpool:
    """One connection for all calls, like that of ckpool's generator."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int):
        self.reader, self.writer, self.port = reader, writer, port

    async def line(self) -> str:
        return (await asyncio.wait_for(self.reader.readline(), PATIENCE_S)).decode()

    async def ask(self, request: str, auth: str = AUTH) -> tuple[str, str]:
        """Return the status line, and the first line that starts with a brace; "" if none came."""
        sent = (
            f"POST / HTTP/1.1\nAuthorization: Basic {auth}\nHost: 127.0.0.1:{self.port}\n"
            f"Content-type: application/json\nContent-Length: {len(request)}\n\n{request}"
        )
        self.writer.write(sent.encode())
        status = line = await self.line()
        while line and not line.startswith("{"):
            line = await self.line()
        return status, line

    async def call(self, method: str, *params: Any) -> Any:
        asked = {"method": method, **({"params": params} if params else {})}
        status, line = await self.ask(json.dumps(asked) + "\n")
        assert status == "HTTP/1.1 200 OK\r\n"
        assert line.endswith("}\n"), "or ckpool waits for its end until it gives up"
        told = json.loads(line)
        assert told["error"] is None
        return told["result"]


def with_ckpool(on_node, scenario):
    async def serve(node):
        await node.grow(101)
        listener = Listener(node.app, API_LIMITS)
        await listener.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        try:
            await scenario(node, Ckpool(reader, writer, listener.port))
        finally:
            writer.close()
            node.context.end_streams()
            await listener.stop()

    on_node(serve)


def test_the_generator_of_work_gets_all_that_it_asks_for(on_node):
    """From start-up over a found block to the next work."""

    async def scenario(node, pool):
        address = script_address(KEY.script, REGTEST.address_prefixes)
        told = await pool.call("validateaddress", address)
        assert (told["isvalid"], told["isscript"], told["iswitness"]) == (True, False, True)
        assert await pool.call("getblockcount") == 101
        best = await pool.call("getbestblockhash")
        assert await pool.call("getblockhash", 101) == best == id_text(node.chain.tip.id)
        wanted = {"capabilities": ["coinbasetxn", "workid", "coinbase/append"], "rules": ["segwit"]}
        work = await pool.call("getblocktemplate", wanted)
        assert (work["previousblockhash"], work["height"]) == (best, 102)
        for name in ("target", "bits", "curtime", "version", "coinbasevalue", "coinbaseaux",
                     "transactions", "default_witness_commitment", "rules"):  # fmt: skip
            assert name in work, name
        tx = payment(node)
        assert await pool.call("sendrawtransaction", tx.raw.hex()) == id_text(tx.txid)
        assert await pool.call("getrawtransaction", id_text(tx.txid)) == tx.raw.hex()
        block = node.chain.add([tx], fees=1000)
        assert await pool.call("submitblock", block.raw.hex()) is None
        assert await pool.call("submitblock", block.raw.hex()) == "duplicate"
        assert await pool.call("getbestblockhash") == id_text(block.id)
        rival = node.chain.fork(1).add(extra=b"rival")
        assert await pool.call("submitblock", rival.raw.hex()) == "inconclusive"
        assert await pool.call("preciousblock", id_text(rival.id)) is None
        assert await pool.call("getbestblockhash") == id_text(rival.id)

    with_ckpool(on_node, scenario)


def test_an_error_comes_in_a_line_too(on_node):
    async def scenario(_node, pool):
        for request, status in (
            ('{"method": "getblockhash", "params": [999]}\n', "500"),
            ('{"method": "nosuch"}\n', "404"),
            ('{"method": "getblocktemplate", "params": [{}]}\n', "500"),
            ('{"method": 5}', "400"),
            ("{", "500"),
        ):
            first, line = await pool.ask(request)
            assert first.startswith(f"HTTP/1.1 {status} "), request
            assert line.endswith("}\n"), request
            assert json.loads(line)["error"]["code"] < 0
        assert await pool.call("getblockcount") == 101, "on the same connection"

    with_ckpool(on_node, scenario)


def test_a_wrong_password_is_told_in_the_first_line(on_node):
    async def scenario(_node, pool):
        pool.writer.write(
            f"POST / HTTP/1.1\nAuthorization: Basic {AUTH[::-1]}\nHost: 127.0.0.1:{pool.port}\n"
            "Content-type: application/json\nContent-Length: 2\n\n{}".encode()
        )
        assert await pool.line() == "HTTP/1.1 401 Unauthorized\r\n"

    with_ckpool(on_node, scenario)


def test_a_block_that_fills_many_reads_arrives_whole(on_node):
    async def scenario(node, pool):
        block = node.chain.add(extra=b"x" * 80).raw.hex() + "zz" * 200_000
        request = json.dumps({"method": "submitblock", "params": [block]})
        _, line = await pool.ask(request)
        assert json.loads(line)["error"] == {"code": -22, "message": "Block decode failed"}

    with_ckpool(on_node, scenario)
