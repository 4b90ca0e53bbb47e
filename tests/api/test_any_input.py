"""Whatever comes in paths, queries and calls, the server never breaks (threats 10 and 35)."""

import random
import re

from chain.primitives.address import script_address
from chain.primitives.numbers import id_text
from chain.service.api.rpc.methods import METHODS
from tests.api.harness import OTHER, payment

ODD = [
    "0",
    "-1",
    "1e3",
    "9" * 5000,
    "18446744073709551616",
    "00" * 32,
    "AB" * 32,
    "%00",
    "%ff%fe",
    "%0d%0aSet-Cookie:a=b",
    "..%2f..%2fetc%2fpasswd",
    "' OR 1=1 --",
    "<script>",
    "😀",
    "٣",  # a digit, but none of ours
    "NaN",
    "%F0%9F%98",
]
ODD_VALUES = [
    None, True, False, 0, -1, 2**53 + 1, 2**63, 2**64 - 1, 1.5, -1e20, "", "x", "0", "00" * 32,
    "zz" * 32, "é", "\u202e", [], [[]], ["x"], [1], {}, {"rules": "segwit"}, {"rules": ["segwit"],
    "longpollid": 5}, {"args": 5}, {"mode": 5}, "9" * 10_000,
]  # fmt: skip
ENDLESS = {"generatetoaddress", "stop", "waitfornewblock", "waitforblock", "waitforblockheight"}
INVALID_PARAMS = -32602  # Core tells it of disconnectnode


def test_odd_paths_break_nothing(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node)
        await node.pool(tx)
        good = [
            id_text(tx.txid),
            id_text(node.chain.tip.id),
            script_address(OTHER.script, "bcrt"),
        ]
        paths = {path for path, ways in node.app.openapi()["paths"].items() if "get" in ways}
        paths |= {"/block/{a}", "/tx/{a}", "/address/{a}", "/search?q={a}", "/block/5?start={a}"}
        paths |= {f"/address/{good[2]}?after={{a}}", "/{a}", "/static/{a}"}
        asked = 0
        for path in sorted(paths - {"/api/v1/events"}):
            for odd in ODD + good:
                reply = await node.get(re.sub(r"\{\w+\}", odd, path))
                assert reply.status_code < 500, (path, odd, reply.text)
                assert reply.status_code != 422, (path, odd)
                assert "set-cookie" not in reply.headers
                asked += 1
        assert asked > 500

    on_node(scenario)


def test_odd_arguments_break_no_method(on_node):
    async def scenario(node):
        await node.grow(3)
        for name in METHODS.keys() - ENDLESS:
            calls = [[value] for value in ODD_VALUES]
            calls += [[value, value] for value in ODD_VALUES]
            calls += [["00" * 32, value] for value in ODD_VALUES]
            batch = [{"jsonrpc": "2.0", "id": 0, "method": name, "params": p} for p in calls]
            reply = await node.post_rpc(batch)
            assert reply.status_code == 200, name
            for params, answer in zip(calls, reply.json(), strict=True):
                error = answer.get("error")
                told = error is None or error["code"] > -32000 or error["code"] == INVALID_PARAMS
                assert told, (name, params, error)

    on_node(scenario)


def test_any_bytes_for_a_transaction_or_block_break_nothing(on_node):
    """Random ones, and a real block with a byte changed or cut anywhere."""

    async def scenario(node):
        chance = random.Random(1)
        block = node.chain.add().raw
        for _ in range(60):
            at = chance.randrange(len(block))
            for data in (
                chance.randbytes(chance.randrange(200)),
                block[:at],
                block[:at] + bytes([block[at] ^ 1 << chance.randrange(8)]) + block[at + 1 :],
            ):
                reply = await node.client.post("/api/tx", content=data.hex())
                assert reply.status_code == 400
                answer = await node.post_rpc(
                    {"jsonrpc": "2.0", "id": 0, "method": "submitblock", "params": [data.hex()]}
                )
                assert answer.status_code == 200
                assert answer.json().get("error", {"code": -1})["code"] > -32000, data.hex()

    on_node(scenario)
