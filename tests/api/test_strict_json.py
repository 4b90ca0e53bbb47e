"""JSON from outside: forms that no honest client writes are refused, and none breaks the server."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.service.api.exact_json import CoinValue, write_json
from chain.service.api.rpc.values import plain_json
from chain.service.api.strict_json import (
    DEPTH_MAX,
    JsonHostileError,
    JsonSyntaxError,
    Number,
    read_json,
    repeated_key,
)
from tests.api.harness import PASSWORD, basic

HOSTILE = {
    "NaN": b"[NaN]",
    "infinity": b"[Infinity]",
    "minus infinity": b"[-Infinity]",
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


def test_hostile_json_is_a_parse_error_with_core_s_status(on_node):
    async def scenario(node):
        headers = {"Authorization": basic("__cookie__", PASSWORD)}
        for name, body in HOSTILE.items():
            reply = await node.client.post("/", content=body, headers=headers)
            assert reply.status_code == 500, name
            assert reply.json()["error"]["code"] == -32700, name

    on_node(scenario)


def test_of_a_repeated_key_the_first_value_is_kept_and_the_repetition_is_known():
    value = read_json(b'[{"b":{"a":1,"c":[],"a":2}},{"a":1}]')
    assert plain_json(value) == [{"b": {"a": 1, "c": []}}, {"a": 1}]
    assert repeated_key(value) == "a"
    assert repeated_key(read_json(b'[{"a":{"a":1}},{"a":[{"a":2}]}]')) is None


NUMBERS = [
    "0", "-0", "1.0", "-1", "1e3", "1E+3", "9007199254740993", "18446744073709551615",
    "1e999", "1e-999", "1e99999999999999999999", "-1e-99999999999999999999", "1" + "0" * 20,
    "9" * 5000, "0." + "1" * 60,
]  # fmt: skip


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_is_kept_as_it_was_written(text):
    assert read_json(f"[{text}]".encode()) == [Number(text)]
    assert write_json(read_json(f"[{text}]".encode())) == f"[{text}]"


def test_odd_numbers_are_a_caller_s_error_and_no_crash(on_node):
    async def scenario(node):
        headers = {"Authorization": basic("__cookie__", PASSWORD)}
        for method in ("getblockhash", "getnetworkhashps", "estimatesmartfee"):
            for value in [*NUMBERS[2:], "true", '"5"']:
                body = f'{{"jsonrpc":"2.0","id":1,"method":"{method}","params":[{value}]}}'
                reply = await node.client.post("/", content=body, headers=headers)
                assert reply.status_code == 200, body
                assert reply.json().get("error", {"code": -8})["code"] in {-1, -3, -8}, body

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
    assert plain_json(read_json(write_json(tree).encode())) == tree


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
    assert write_json({"value": CoinValue(grains)}) == f'{{"value":{text}}}'
    assert read_json(write_json([CoinValue(grains)]).encode()) == [Number(text)]
