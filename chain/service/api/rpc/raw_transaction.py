"""JSON-RPC: a transaction made of what one lists, not signed."""

from collections.abc import Iterator
from typing import Final

from chain.primitives.address import AddressError, address_script
from chain.primitives.numbers import Amount, OutPoint, outpoint
from chain.primitives.script import op_return
from chain.primitives.transaction import SEQUENCE_FINAL, Transaction, TxIn, TxOut
from chain.service.api.moment import Moment
from chain.service.api.rpc.errors import Code, RpcError
from chain.service.api.rpc.values import Json, amount_argument, hash_argument, hex_argument

_ITEMS_MAX: Final = 10_000  # inputs, or outputs
_VERSION: Final = 2
_SEQUENCE_REPLACEABLE: Final = 0xFFFFFFFD  # BIP125
_SEQUENCE_WITH_LOCK_TIME: Final = 0xFFFFFFFE
_DATA: Final = "data"
_DATA_BYTES_MAX: Final = 255  # far more than is relayed


def createrawtransaction(
    moment: Moment,
    inputs: list[Json],
    outputs: list[Json] | dict[str, Json],
    locktime: int = 0,
    *,
    replaceable: bool = True,
) -> str:
    """Make a transaction that is not signed, and give its hex; nothing is looked up or kept.

    Inputs are {txid, vout, sequence}; outputs are {address: coins} or {"data": hex}.
    """
    if not 0 <= locktime <= SEQUENCE_FINAL:
        raise _invalid("Invalid parameter, locktime out of range")
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
    pays = [_output(name, value, moment.prefix) for name, value in pairs]
    return Transaction(_VERSION, spends, pays, locktime).raw.hex()


def _input(given: Json, sequence: int) -> TxIn:
    if not isinstance(given, dict):
        raise RpcError(Code.TYPE, "an input must be an object with txid and vout")
    txid, vout, own = given.get("txid"), given.get("vout"), given.get("sequence", sequence)
    if not isinstance(txid, str):
        raise _invalid("Invalid parameter, missing txid key")
    if type(vout) is not int:
        raise _invalid("Invalid parameter, missing vout key")
    if vout < 0:
        raise _invalid("Invalid parameter, vout cannot be negative")
    if vout > SEQUENCE_FINAL:
        raise _invalid("Invalid parameter, vout is out of range")
    if type(own) is not int or not 0 <= own <= SEQUENCE_FINAL:
        raise _invalid("Invalid parameter, sequence number is out of range")
    point: OutPoint = outpoint(hash_argument(txid, "txid"), vout)
    return TxIn(point, sequence=own)


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
    """Refuse an address, or data, that is given twice, as Core does."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            what = "duplicate key: data" if name == _DATA else f"duplicated address: {name[:100]}"
            raise _invalid(f"Invalid parameter, {what}")
        seen.add(name)


def _output(name: str, value: Json, prefix: str) -> TxOut:
    if name == _DATA:
        if not isinstance(value, str):
            raise RpcError(Code.TYPE, "data must be a text in hex")
        data = hex_argument(value, "Data must be hexadecimal string")
        if len(data) > _DATA_BYTES_MAX:
            raise _invalid(f"data may have {_DATA_BYTES_MAX} bytes")
        return TxOut(Amount(0), op_return(data))
    try:
        script = address_script(name, prefix)
    except AddressError as error:
        problem = f"Invalid address: {name[:100]}: {error}"
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, problem) from None
    return TxOut(Amount(amount_argument(value)), script)


def _invalid(problem: str) -> RpcError:
    return RpcError(Code.INVALID_PARAMETER, problem)
