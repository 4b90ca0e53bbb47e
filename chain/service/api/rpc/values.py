"""JSON-RPC's values: decoding of numbers, ids, hex and addresses."""

import re
from decimal import Decimal
from typing import Final

from chain.primitives.address import AddressError, AddressPrefixes, address_script
from chain.primitives.encoding import DecodeError, parse_hex
from chain.primitives.numbers import AMOUNT_MAX, GRAINS_PER_GROAT, Hash32, parse_id
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import Json, fixed_point
from chain.service.api.rpc.errors import RpcError
from chain.service.api.strict_json import Number, RepeatingObject

_INTEGER: Final = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_DECIMAL: Final = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_RANGE_END_MAX: Final = 1 << 31  # BIP32: indexes from here on are hardened
_RANGE_MAX: Final = 1_000_000  # indexes
_TYPE_NAMES: Final = {
    type(None): "null",
    bool: "bool",
    dict: "object",
    RepeatingObject: "object",
    list: "array",
    str: "string",
    int: "number",
    float: "number",
    Decimal: "number",
    Number: "number",
}


def type_name(value: Json) -> str:
    """Return the JSON name of a value's type (Bitcoin: uvTypeName)."""
    return _TYPE_NAMES[type(value)]


def type_error(value: Json, expected: str) -> RpcError:
    """Return the error for a value whose JSON type is not the `expected` one."""
    text = f"JSON value of type {type_name(value)} is not of expected type {expected}"
    return RpcError(Code.TYPE, text)


def string_argument(value: Json) -> str:
    """Return a string. Raises RpcError TYPE."""
    if not isinstance(value, str):
        raise type_error(value, "string")
    return value


def integer_argument(value: Json, bits: int = 32, *, is_signed: bool = True) -> int:
    """Return an integer without point or exponent that fits in `bits` bits, as in C.

    Raises RpcError TYPE, and MISC for another number (Bitcoin: UniValue::getInt).
    """
    if type_name(value) != "number":
        raise type_error(value, "number")
    text = _number_text(value)
    low, high = (-1 << (bits - 1), 1 << (bits - 1)) if is_signed else (0, 1 << bits)
    if _INTEGER.fullmatch(text) is None or not low <= int(text) < high:
        raise RpcError(Code.MISC, "JSON integer out of range")
    return int(text)


def plain_number(number: Number) -> int | Decimal | Number:
    """Return a number as int or float; as text if it is too long or too large."""
    if _DECIMAL.fullmatch(number.text) is None:
        return number
    value = Decimal(number.text)
    return int(value) if number.text.lstrip("-").isdecimal() else value


def plain_json(value: Json) -> Json:
    """Return JSON with all its numbers as `plain_number` returns them."""
    if isinstance(value, Number):
        return plain_number(value)
    if isinstance(value, list):
        return [plain_json(item) for item in value]
    if isinstance(value, dict):
        return {key: plain_json(item) for key, item in value.items()}
    return value


def without_nulls(given: dict[str, Json]) -> dict[str, Json]:
    """Return an object's members without nulls: where the names are fixed, null means missing."""
    return {name: value for name, value in given.items() if value is not None}


def hash_argument(text: Json, name: str = "blockhash") -> Hash32:
    """Return the id of 64 hex digits in display order.

    Raises RpcError TYPE and INVALID_PARAMETER (Bitcoin: ParseHashV).
    """
    text = string_argument(text)
    if len(text) != 64:
        problem = f"must be of length 64 (not {len(text)}, for '{text[:128]}')"
        raise RpcError(Code.INVALID_PARAMETER, f"{name} {problem}")
    try:
        return parse_id(text)
    except ValueError:
        problem = f"must be hexadecimal string (not '{text}')"
        raise RpcError(Code.INVALID_PARAMETER, f"{name} {problem}") from None


def hex_argument(text: str, message: str) -> bytes:
    """Return the bytes of a hex string. Raises RpcError DESERIALIZATION with `message`."""
    try:
        return parse_hex(text)
    except DecodeError:
        raise RpcError(Code.DESERIALIZATION, message) from None


def amount_argument(value: Json) -> int:
    """Return an amount in coins, a number or its text, as grains.

    Raises RpcError TYPE (Bitcoin: AmountFromValue).
    """
    if type_name(value) not in {"number", "string"}:
        raise RpcError(Code.TYPE, "Amount is not a number or string")
    grains = fixed_point(value if isinstance(value, str) else _number_text(value))
    if grains is None:
        raise RpcError(Code.TYPE, "Invalid amount")
    if not 0 <= grains <= AMOUNT_MAX:
        raise RpcError(Code.TYPE, "Amount out of range")
    return grains


def rate_argument(value: Json) -> int:
    """Return a fee rate in coins per kvB, a number or its text, as grains per kvB.

    Raises RpcError TYPE, and INVALID_PARAMETER for 1 and more (Bitcoin: ParseFeeRate).
    """
    grains = amount_argument(value)
    if grains >= GRAINS_PER_GROAT:
        problem = "Fee rates larger than or equal to 1 groat/kvB are not accepted"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    return grains


def range_argument(value: Json) -> tuple[int, int]:
    """Return the first and the last index of a descriptor's range, END or [BEGIN, END].

    Raises RpcError INVALID_PARAMETER, and MISC (Bitcoin: ParseDescriptorRange).
    """
    if type_name(value) == "number":
        low, high = 0, integer_argument(value, 64)
    elif isinstance(value, list) and [type_name(end) for end in value] == ["number"] * 2:
        low, high = (integer_argument(end, 64) for end in value)
    else:
        raise _bad_range("Range must be specified as end or as [begin,end]")
    if low > high:
        raise _bad_range("Range specified as [begin,end] must not have begin after end")
    if low < 0:
        raise _bad_range("Range should be greater or equal than 0")
    if high >= _RANGE_END_MAX:
        raise _bad_range("End of range is too high")
    if high - low >= _RANGE_MAX:
        raise _bad_range("Range is too large")
    return low, high


def address_argument(text: str, prefixes: AddressPrefixes) -> bytes:
    """Return the script an address pays to. Raises RpcError INVALID_ADDRESS_OR_KEY."""
    try:
        return address_script(text, prefixes)
    except AddressError as error:
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, f"Error: Invalid address: {error}") from error


def _bad_range(problem: str) -> RpcError:
    return RpcError(Code.INVALID_PARAMETER, problem)


def _number_text(value: Number | float | Decimal) -> str:
    """Return a number's JSON text."""
    if isinstance(value, Number):
        return value.text
    return format(value, "f") if isinstance(value, Decimal) else str(value)
