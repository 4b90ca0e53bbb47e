"""JSON from outside: what no honest client writes is refused, and never breaks the server."""

import json
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.service.api.rpc.values import Coins, write_json
from chain.service.api.strict_json import (
    DEPTH_MAX,
    JsonHostileError,
    JsonSyntaxError,
    read_json,
)
from tests.api.harness import PASSWORD, basic

HOSTILE = {
    "NaN": b"[NaN]",
    "infinity": b"[Infinity]",
    "minus infinity": b"[-Infinity]",
    "overflow": b"[1e999]",
    "underflow": b"[1e-999]",
    "long integer": b"[1" + b"0" * 20 + b"]",
    "5,000 digits": b"[" + b"9" * 5000 + b"]",
    "long fraction": b"[0." + b"1" * 60 + b"]",
    "minus zero": b"[-0]",
    "key twice": b'{"a":1,"a":2}',
    "key twice, deep": b'[{"b":{"a":1,"a":2}}]',
    "lone surrogate": rb'["\ud800"]',
    "lone surrogate as key": rb'{"\udc00":1}',
    "too deep": b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1),
    "100,000 deep": b"[" * 100_000,
    "100,000 deep objects": b'{"a":' * 100_000,
    "null character": b'["a\x00"]',
    "byte order mark": b"\xef\xbb\xbf[]",
    "UTF-16": "[]".encode("utf-16"),
    "Latin-1": b'["\xe9"]',
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_json_is_refused(body):
    with pytest.raises(JsonHostileError):
        read_json(body)


def test_hostile_json_is_a_400(on_node):
    async def scenario(node):
        headers = {"Authorization": basic("__cookie__", PASSWORD)}
        for name, body in HOSTILE.items():
            reply = await node.client.post("/", content=body, headers=headers)
            assert reply.status_code == 400, name
            assert reply.json()["error"]["code"] == -32700, name

    on_node(scenario)


ODD = ["1.0", "true", '"5"', "9007199254740993", "18446744073709551615", "-1", "1e3"]


def test_odd_numbers_are_a_caller_s_error_and_no_crash(on_node):
    async def scenario(node):
        headers = {"Authorization": basic("__cookie__", PASSWORD)}
        for method in ("getblockhash", "getnetworkhashps", "estimatesmartfee"):
            for value in ODD:
                body = f'{{"jsonrpc":"2.0","id":1,"method":"{method}","params":[{value}]}}'
                reply = await node.client.post("/", content=body, headers=headers)
                assert reply.status_code == 200, body
                assert reply.json().get("error", {"code": -8})["code"] in {-3, -8}, body

    on_node(scenario)


def test_depth_up_to_the_bound_is_read():
    body = b"[" * DEPTH_MAX + b"]" * DEPTH_MAX
    assert read_json(body) is not None


@pytest.mark.parametrize("body", [b"", b"{", b"[1,]", b"{'a':1}", b"[1] 2", b"01", b'["\t"]'])
def test_other_text_is_no_json(body):
    with pytest.raises(JsonSyntaxError):
        read_json(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body):
    with suppress(JsonHostileError, JsonSyntaxError):
        read_json(body)


TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(TREES.filter(lambda tree: "\x00" not in json.dumps(tree, ensure_ascii=False)))
def test_what_is_written_reads_back(tree):
    assert read_json(write_json(tree).encode()) == tree


@pytest.mark.parametrize(
    ("grains", "text"),
    [
        (0, "0.00000000"),
        (1, "0.00000001"),
        (-1, "-0.00000001"),
        (100_000_000, "1.00000000"),
        (5_000_000_000, "50.00000000"),
        (2_100_000_000_000_000, "21000000.00000000"),
        (-150_000_000, "-1.50000000"),
    ],
)
def test_amounts_have_eight_decimals_and_no_exponent(grains, text):
    assert write_json({"value": Coins(grains)}) == f'{{"value":{text}}}'
    assert read_json(write_json([Coins(grains)]).encode()) == [Decimal(grains) / 10**8]
