"""JSON-RPC's values: amounts with eight decimals, and arguments of the right kind."""

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, TypeAlias

from chain.primitives.address import AddressError, address_script
from chain.primitives.numbers import GRAINS_PER_GROAT, Hash32
from chain.service.api.rpc.errors import Code, RpcError

Json: TypeAlias = Any  # dict, list, str, int, float, bool, None or Coins, nested
_HASH: Final = re.compile("[0-9a-fA-F]{64}")
_HEX: Final = re.compile("(?:[0-9a-fA-F]{2})*")
_DECIMAL: Final = re.compile(r"[0-9]{1,10}(\.[0-9]{1,8})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Coins:
    """An amount in grains that JSON shows in whole coins: 1 is 0.00000001, never 1e-08."""

    grains: int

    def __str__(self) -> str:
        whole, rest = divmod(abs(self.grains), GRAINS_PER_GROAT)
        return f"{'-' if self.grains < 0 else ''}{whole}.{rest:08d}"


def write_json(value: Json) -> str:
    """Return JSON; the library's own writer would write small amounts with an exponent."""
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)}:{write_json(item)}" for key, item in value.items())
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(write_json, value))}]"
    if isinstance(value, Coins | Decimal):
        return str(value)
    return json.dumps(value)


def hash_argument(text: str, name: str = "blockhash") -> Hash32:
    """Return the id that 64 hex digits in display order mean. Raises RpcError INVALID_PARAMETER."""
    if len(text) != 64:
        problem = f"must be of length 64 (not {len(text)}, for '{text[:128]}')"
        raise RpcError(Code.INVALID_PARAMETER, f"{name} {problem}")
    if _HASH.fullmatch(text) is None:
        problem = f"must be hexadecimal string (not '{text}')"
        raise RpcError(Code.INVALID_PARAMETER, f"{name} {problem}")
    return Hash32(bytes.fromhex(text)[::-1])


def hex_argument(text: str, message: str) -> bytes:
    """Return the bytes that hex means. Raises RpcError DESERIALIZATION with `message`."""
    if _HEX.fullmatch(text) is None:
        raise RpcError(Code.DESERIALIZATION, message)
    return bytes.fromhex(text)


def rate_argument(value: int | Decimal) -> int:
    """Return a fee rate in coins a kvB as grains a kvB. Raises RpcError TYPE."""
    grains = Decimal(value) * GRAINS_PER_GROAT
    if grains != int(grains) or not 0 <= grains <= 21_000_000 * GRAINS_PER_GROAT:
        raise RpcError(Code.TYPE, "Amount out of range")
    return int(grains)


def decimal_of(text: str) -> Decimal | None:
    """Return the number that a text is, at most 10 digits and 8 behind the point, or None."""
    return Decimal(text) if _DECIMAL.fullmatch(text) else None


def amount_argument(value: Json) -> int:
    """Return an amount in coins, a number or its text, as grains. Raises RpcError TYPE."""
    if isinstance(value, str):
        value = decimal_of(value)
    if type(value) not in {int, Decimal}:
        raise RpcError(Code.TYPE, "Amount is not a number or string")
    return rate_argument(value)


def address_argument(text: str, prefix: str) -> bytes:
    """Return the script an address pays to. Raises RpcError INVALID_ADDRESS_OR_KEY."""
    try:
        return address_script(text, prefix)
    except AddressError as error:
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, f"Error: Invalid address: {error}") from error
