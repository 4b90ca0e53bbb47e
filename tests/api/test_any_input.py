"""No path, query or call breaks the server (threats 10 and 35)."""

import random
import re

import pytest

from chain.consensus.params import REGTEST
from chain.primitives.address import script_address
from chain.primitives.numbers import id_text
from chain.service.api.rpc.methods import METHODS
from tests.api.core_rpc_table import CORE
from tests.api.harness import OTHER, PASSWORD, basic, payment

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
OF_A_TYPE = {  # JSON of the type that an argument takes, which may make no sense
    "null": ["null"],
    "bool": ["true", "false"],
    "number": ["0", "1", "-1", "2147483647", "2147483648", "1.5", "1e-8",
               "1e99999999999", "9" * 400],
    "string": ['""', '"x"', '"0.1"', '"\\u202e"', '"add"', '"start"', '"none"', '"00"',
               '"0.0.0.0:1"'],
    "array": [
        "[]", "[[]]", "[null]", '["x"]', '["00"]', "[{}]", "[1e999]", '[{"txid":1}]', "[true,1]",
        '[{"txid":"%s","vout":1e9}]' % ("00" * 32), '[{"desc":"raw(51)","range":[1e9,2]}]',
    ],
    "object": ["{}", '{"x":1e999}', '{"data":1}', '{"rules":[1]}', '{"mode":[]}', '{"data":null}'],
}  # fmt: skip
CALLS_EACH = 15
PATH_PARTS = 3  # of all paths, a test each
HEADERS = {"Authorization": basic("__cookie__", PASSWORD)}
INVALID_PARAMS = -32602  # Core tells it of disconnectnode


@pytest.mark.parametrize("part", range(PATH_PARTS))
def test_odd_paths_break_nothing(on_node, part):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node)
        await node.pool(tx)
        good = [
            id_text(tx.txid),
            id_text(node.chain.tip.id),
            script_address(OTHER.script, REGTEST.address_prefixes),
        ]
        paths = {path for path, ways in node.app.openapi()["paths"].items() if "get" in ways}
        paths |= {"/block/{a}", "/tx/{a}", "/address/{a}", "/search?q={a}", "/block/5?start={a}"}
        paths |= {f"/address/{good[2]}?after={{a}}", "/{a}", "/static/{a}"}
        finite = sorted(paths - {"/api/v1/events"})
        assert len(finite) * len(ODD + good) > 500
        for path in finite[part::PATH_PARTS]:
            for odd in ODD + good:
                reply = await node.get(re.sub(r"\{\w+\}", odd, path))
                assert reply.status_code < 500, (path, odd, reply.text)
                assert reply.status_code != 422, (path, odd)
                assert "set-cookie" not in reply.headers

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


def test_odd_arguments_of_the_right_types_break_no_method(on_node):
    """Every argument of Core's table, by name and in order, with a seed."""
    rng = random.Random(2)

    def value_of(argument, strings):
        kind = rng.choice(sorted(argument.json_types))
        return rng.choice(OF_A_TYPE[kind] + (strings if kind == "string" else []))

    async def scenario(node):
        await node.grow(3)
        tip = id_text(node.chain.tip.id)
        address = script_address(OTHER.script, REGTEST.address_prefixes)
        strings = [f'"{text}"' for text in (tip, address, "ab" * 32, f"addr({address})")]
        asked = 0
        for name in sorted(METHODS.keys() - ENDLESS):
            known = {parameter.name for parameter in METHODS[name].parameters}
            arguments = [one for one in CORE[name] if one.name in known]
            for _ in range(CALLS_EACH if arguments else 1):
                values = [value_of(one, strings) for one in arguments]
                params = f"[{','.join(values)}]"
                if rng.random() < 0.5:
                    names = (rng.choice([one.name, one.alias or one.name]) for one in arguments)
                    pairs = (f'"{key}":{given}' for key, given in zip(names, values, strict=True))
                    params = f"{{{','.join(pairs)}}}"
                body = f'{{"id":{rng.choice(OF_A_TYPE["number"])},"method":"{name}",'
                reply = await node.client.post(
                    "/", content=f'{body}"params":{params}}}', headers=HEADERS
                )
                told = reply.json(parse_float=str, parse_int=str)["error"]
                code = 0 if told is None else int(told["code"])
                assert code > -32000 or code == INVALID_PARAMS, (name, params, told)
                asked += 1
        assert asked > 500

    on_node(scenario)


def test_any_bytes_for_a_transaction_or_block_break_nothing(on_node):
    """Random ones, and a real block with a byte changed or cut anywhere."""

    async def scenario(node):
        rng = random.Random(1)
        block = node.chain.add().raw
        for _ in range(60):
            at = rng.randrange(len(block))
            for data in (
                rng.randbytes(rng.randrange(200)),
                block[:at],
                block[:at] + bytes([block[at] ^ 1 << rng.randrange(8)]) + block[at + 1 :],
            ):
                reply = await node.client.post("/api/tx", content=data.hex())
                assert reply.status_code == 400
                answer = await node.post_rpc(
                    {"jsonrpc": "2.0", "id": 0, "method": "submitblock", "params": [data.hex()]}
                )
                assert answer.status_code == 200
                assert answer.json().get("error", {"code": -1})["code"] > -32000, data.hex()

    on_node(scenario)
