"""JSON-RPC: every method's arguments are those of Core's table, and are read as Core reads them.

No call here gets past its arguments, so none changes anything: `stop` is tried like all others.
"""

import inspect
import json
from typing import Any, TypedDict

import pytest

from chain.service.api.exact_json import CoinValue
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method
from chain.service.api.rpc.methods import METHODS
from chain.service.api.strict_json import Number
from tests.api.core_rpc_table import CORE, CORE_PRESENT, DEFAULTS_OF_OUR_OWN, Argument
from tests.api.core_rpc_walk import MISC, Case, wrong_calls


def row(name: str) -> tuple[Argument, ...]:
    """Return the arguments that both the table and the method have."""
    own = {parameter.name for parameter in METHODS[name].parameters}
    return tuple(one for one in CORE[name] if not one.may_be_missing or one.name in own)


def test_every_method_has_a_line_in_the_table():
    assert METHODS.keys() - CORE.keys() == set(), "a method without a line: add it"
    assert CORE_PRESENT.keys() - METHODS.keys() == set(), "a method is gone"


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_arguments_are_those_of_core(name):
    wanted = [(one.pattern, one.is_required) for one in row(name)]
    assert [(one.pattern, one.is_required) for one in METHODS[name].parameters] == wanted


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_defaults_are_those_of_core(name):
    parameters = inspect.signature(METHODS[name].function).parameters
    for one in row(name):
        if one.default is None or (name, one.name) in DEFAULTS_OF_OUR_OWN:
            continue
        default = parameters[one.name].default
        shown = CoinValue(default) if "amount" in one.types else json.dumps(default)
        assert json.loads(str(shown)) == json.loads(one.default), one.name


async def check(node, name: str, cases: list[Case]) -> None:
    """Make the calls in one batch, with names, and see each fail as it should."""
    batch = [
        {"jsonrpc": "2.0", "id": at, "method": name, "params": case.params}
        for at, case in enumerate(cases)
    ]
    for case, answer in zip(cases, (await node.post_rpc(batch)).json(), strict=True):
        assert "error" in answer, (name, case)
        assert answer["error"]["code"] == case.code, (name, case, answer)
        assert case.text in answer["error"]["message"], (name, case, answer)


def test_any_wrong_number_name_or_type_of_arguments_has_core_s_error(on_node):
    async def scenario(node):
        checked = 0
        for name, method in METHODS.items():
            usage = f"{method.usage}\n\n"
            cases = wrong_calls(row(name), usage)
            await check(node, name, cases)
            checked += len(cases)
        assert checked > 1_000
        assert node.stopped == []

    on_node(scenario)


def test_all_wrong_types_are_told_at_once(on_node):
    async def scenario(node):
        error = await node.rpc_error("gettxout", 1, "2", None)
        text = "JSON value of type {} is not of expected type {}"
        assert error["message"] == (
            'Wrong type passed:\n{\n    "Position 1 (txid)": "'
            + text.format("number", "string")
            + '",\n    "Position 2 (n)": "'
            + text.format("string", "number")
            + '"\n}'
        )

    on_node(scenario)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_null_is_the_same_as_missing_where_an_argument_is_optional(name):
    method, arguments = METHODS[name], row(name)
    required = max((at for at, one in enumerate(arguments, 1) if one.is_required), default=0)
    right = [as_read(one.valid_value) if one.is_required else None for one in arguments]
    bare = method.arguments(right[:required])
    assert method.arguments(right) == bare
    assert method.arguments(dict(zip((one.name for one in arguments), right, strict=True))) == bare
    assert set(bare) == {one.name for one in arguments if one.is_required}


def as_read(value: Any) -> Any:
    return Number(str(value)) if type(value) is int else value


INTEGERS = [
    # method, the arguments before and after, bits, whether signed
    ("getblockhash", [], [], 32, True),
    ("getnetworkhashps", [], [], 32, True),
    ("getnetworkhashps", ["1"], [], 32, True),
    ("estimatesmartfee", [], [], 32, True),
    ("generatetoaddress", [], ['"x"'], 32, True),
    ("getblock", ['"x"'], [], 32, True),
    ("getrawtransaction", ['"x"'], [], 32, True),
    ("getblockstats", [], [], 32, True),
    ("getchaintxstats", [], [], 32, True),
    ("stop", [], [], 32, True),
    ("gettxout", ['"x"'], [], 32, False),
    ("createrawtransaction", ["[]", "{}", "0", "true"], [], 32, False),
    ("createrawtransaction", ["[]", "{}"], [], 64, True),
    ("setmocktime", [], [], 64, True),
    ("disconnectnode", ['""'], [], 64, True),
    ("setban", ['"x"', '"add"'], [], 64, True),
    ("prioritisetransaction", ['"x"', "0"], [], 64, True),
]


@pytest.mark.parametrize(("name", "before", "after", "bits", "is_signed"), INTEGERS)
def test_integers_are_of_core_s_sizes_and_have_neither_point_nor_exponent(
    name, before, after, bits, is_signed
):
    low, high = (-(1 << bits - 1), 1 << bits - 1) if is_signed else (0, 1 << bits)

    def read(text: str) -> Any:
        values = [json.loads(f"{one}", parse_int=Number) for one in before]
        rest = [json.loads(one) for one in after]
        return METHODS[name].arguments([*values, Number(text), *rest])

    at = METHODS[name].parameters[len(before)].name
    for number in (low, high - 1, 0):
        assert read(str(number))[at] == number
    for text in (str(low - 1), str(high), "1.5", "1.0", "1e3", "0e0", "9" * 5000, "1e" + "9" * 30):
        with pytest.raises(RpcError, match="JSON integer out of range") as caught:
            read(text)
        assert caught.value.code == MISC


class _Options(TypedDict, total=False):
    deep: bool
    depth: int


def _with_options(_moment: object, path: str, options: _Options | None = None) -> None:
    """Do nothing."""


def test_a_method_that_takes_options_takes_them_by_name_as_well():
    """As Core's OBJ_NAMED_PARAMS: members of the last object are named like arguments."""
    method = Method(_with_options, "")
    wanted = {"path": "x", "options": {"depth": 3}}
    for given in (
        ["x", {"depth": Number("3")}],
        ["x", {"depth": Number("3"), "deep": None}],
        {"path": "x", "options": {"depth": Number("3")}},
        {"path": "x", "depth": Number("3")},
        {"args": ["x"], "depth": Number("3")},
    ):
        assert method.arguments(given) == wanted, given
    for given, code, text in [
        ({"path": "x", "options": {}, "depth": Number("3")}, -8, "conflicts with parameter depth"),
        (["x", {"other": True}], -3, "Unexpected key other"),
        (["x", {"deep": "yes"}], -3, "for field deep is not of expected type bool"),
        (["x", {}, {}], -1, "_with_options path [options]"),
    ]:
        with pytest.raises(RpcError) as caught:
            method.arguments(given)
        assert caught.value.code == code, given
        assert text in caught.value.message, given
