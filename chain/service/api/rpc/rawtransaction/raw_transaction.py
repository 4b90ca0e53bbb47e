"""JSON-RPC: an unsigned transaction made from listed inputs and outputs."""

from collections.abc import Iterator
from typing import Final

from chain.primitives.address import AddressError, AddressPrefixes, address_script
from chain.primitives.encoding import DecodeError, parse_hex
from chain.primitives.numbers import Amount, outpoint
from chain.primitives.script import op_return
from chain.primitives.transaction import SEQUENCE_FINAL, Transaction, TxIn, TxOut
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import Json
from chain.service.api.rpc.arguments import AnyJson, Int64, UInt32
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method
from chain.service.api.rpc.values import (
    amount_argument,
    hash_argument,
    integer_argument,
    string_argument,
    type_error,
    type_name,
)
from chain.service.api.snapshot import NodeSnapshot

_ITEMS_MAX: Final = 10_000  # inputs, or outputs
_VERSION_DEFAULT: Final = 2
_VERSION_MIN: Final = 1
_VERSION_MAX: Final = 3  # Bitcoin: TX_MAX_STANDARD_VERSION
_SEQUENCE_REPLACEABLE: Final = 0xFFFFFFFD  # BIP125
_SEQUENCE_WITH_LOCK_TIME: Final = 0xFFFFFFFE
_DATA: Final = "data"
_DATA_BYTES_MAX: Final = 255  # far more than relay policy allows


def createrawtransaction(  # noqa: PLR0913 - Core's arguments
    snapshot: NodeSnapshot,
    inputs: list[AnyJson],
    outputs: list[AnyJson] | dict[str, AnyJson],
    locktime: Int64 = 0,
    *,
    replaceable: bool = True,
    version: UInt32 = _VERSION_DEFAULT,
) -> str:
    """Return an unsigned transaction in hex; nothing is looked up or stored.

    Inputs are {txid, vout, sequence}; outputs are {address: coins} or {"data": hex}. Without
    inputs, decoderawtransaction can read the hex, but no peer accepts it.
    """
    if not 0 <= locktime <= SEQUENCE_FINAL:
        raise _invalid("Invalid parameter, locktime out of range")
    if not _VERSION_MIN <= version <= _VERSION_MAX:
        limits = f"({_VERSION_MIN}~{_VERSION_MAX})"
        raise _invalid(f"Invalid parameter, version out of range{limits}")
    pairs = list(_pairs(outputs))
    if max(len(inputs), len(pairs)) > _ITEMS_MAX:
        raise _invalid(f"at most {_ITEMS_MAX} inputs and as many outputs")
    sequence = SEQUENCE_FINAL
    if replaceable:
        sequence = _SEQUENCE_REPLACEABLE
    elif locktime:
        sequence = _SEQUENCE_WITH_LOCK_TIME
    spends = [_input(one, sequence) for one in inputs]
    if replaceable and spends and all(i.sequence > _SEQUENCE_REPLACEABLE for i in spends):
        problem = "Sequence number(s) contradict replaceable option"
        raise _invalid(f"Invalid parameter combination: {problem}")
    _check_names([name for name, _ in pairs])
    pays = [_output(name, value, snapshot.prefixes) for name, value in pairs]
    return Transaction(version, spends, pays, locktime).raw.hex()


def _input(given: Json, sequence: int) -> TxIn:
    if not isinstance(given, dict):
        raise type_error(given, "object")
    txid = hash_argument(given.get("txid"), "txid")
    if type_name(given.get("vout")) != "number":
        raise _invalid("Invalid parameter, missing vout key")
    vout = integer_argument(given["vout"])
    if vout < 0:
        raise _invalid("Invalid parameter, vout cannot be negative")
    if given.get("sequence") is not None:
        sequence = integer_argument(given["sequence"], 64)
    if not 0 <= sequence <= SEQUENCE_FINAL:
        raise _invalid("Invalid parameter, sequence number is out of range")
    return TxIn(outpoint(txid, vout), sequence=sequence)


def _pairs(outputs: list[Json] | dict[str, Json]) -> Iterator[tuple[str, Json]]:
    """Yield each output's name and value, of a list of objects with one pair, or of one object."""
    if isinstance(outputs, dict):
        yield from outputs.items()
        return
    for output in outputs:
        if not isinstance(output, dict):
            raise _invalid("Invalid parameter, key-value pair not an object as expected")
        if len(output) != 1:
            raise _invalid("Invalid parameter, key-value pair must contain exactly one key")
        yield from output.items()


def _check_names(names: list[str]) -> None:
    """Refuse an address or data that occurs twice, as Core does."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            what = "duplicate key: data" if name == _DATA else f"duplicated address: {name[:100]}"
            raise _invalid(f"Invalid parameter, {what}")
        seen.add(name)


def _data(text: str) -> bytes:
    try:
        data = parse_hex(text)
    except DecodeError:
        data = b""
    if not data:
        raise _invalid(f"Data must be hexadecimal string (not '{text[:128]}')")
    return data


def _output(name: str, value: Json, prefixes: AddressPrefixes) -> TxOut:
    if name == _DATA:
        text = string_argument(value)
        data = _data(text)
        if len(data) > _DATA_BYTES_MAX:
            raise _invalid(f"data must have at most {_DATA_BYTES_MAX} bytes")
        return TxOut(Amount(0), op_return(data))
    try:
        script = address_script(name, prefixes)
    except AddressError as error:
        problem = f"Invalid address: {name[:100]}: {error}"
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, problem) from None
    return TxOut(Amount(amount_argument(value)), script)


def _invalid(problem: str) -> RpcError:
    return RpcError(Code.INVALID_PARAMETER, problem)


METHODS: Final = (Method(createrawtransaction, "Rawtransactions"),)
