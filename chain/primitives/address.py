"""Addresses: segwit programs in bech32 (BIP173) and bech32m (BIP350)."""

from base64 import b32encode
from collections.abc import Iterator
from functools import lru_cache, reduce
from operator import xor
from typing import Final

from btclib import bech32
from btclib.exceptions import BTClibValueError

from chain.primitives.script import OP_1, OP_16, p2wpkh_script

ADDRESS_CHARACTERS_MAX: Final = 90  # BIP173
_BECH32M: Final = 0x2BC830A3  # BIP350
_VALUES: Final = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", bytes(range(32)))
_CHARACTERS: Final = bytes.maketrans(bytes(range(32)), b"qpzry9x8gf2tvdw0s3jn54khce6mua7l")


class AddressError(ValueError):
    """Text that is not an address of this network; the message says why."""


def p2wpkh_address(key_hash: bytes, prefix: str) -> str:
    """Return the address, with the network's bech32 `prefix`, of a 20-byte key hash."""
    address = script_address(p2wpkh_script(key_hash), prefix)
    assert address is not None, "P2WPKH always has an address"
    return address


def script_address(script: bytes, prefix: str) -> str | None:
    """Return the address that pays to `script`, or None if it is no segwit program (BIP141)."""
    if not (4 <= len(script) <= 42 and script[1] == len(script) - 2):
        return None
    if script[0] == 0 and script[1] in {20, 32}:
        version = 0
    elif OP_1 <= script[0] <= OP_16:
        version = script[0] - OP_1 + 1
    else:
        return None
    return _encode(prefix, version, script[2:])


def address_script(address: str, prefix: str) -> bytes:
    """Return the output script of `address`.

    Raises AddressError: wrong network prefix, checksum, case, length, version or padding.
    """
    if len(address) > ADDRESS_CHARACTERS_MAX:
        raise AddressError(f"an address has at most {ADDRESS_CHARACTERS_MAX} characters")
    try:
        found, values = bech32.decode(address)
    except BTClibValueError as error:
        raise AddressError(f"not an address: {error}") from error
    if found != prefix:
        raise AddressError(f"address of another network: it starts with {found}1, not {prefix}1")
    version, program = values[0], _program(values[1:])
    if version > 16 or not 2 <= len(program) <= 40:
        raise AddressError("not an address: no such witness program")
    if version == 0 and len(program) not in {20, 32}:
        raise AddressError("not an address: a version 0 program has 20 or 32 bytes")
    return bytes([version and OP_1 + version - 1, len(program)]) + program


def _encode(prefix: str, version: int, program: bytes) -> str:
    """Return the address of a witness program.

    btclib's encoder takes three times as long, and addresses were a third of the time of a page of
    transactions. RFC 4648's base32 groups bits as BIP173 does.
    """
    values = bytes([version]) + b32encode(program).rstrip(b"=").translate(_VALUES)
    check = _polymod(values + bytes(6), _prefix_state(prefix)) ^ (_BECH32M if version else 1)
    checksum = bytes([check >> shift & 31 for shift in range(25, -1, -5)])
    return f"{prefix}1{(values + checksum).translate(_CHARACTERS).decode('ascii')}"


@lru_cache(maxsize=8)
def _prefix_state(prefix: str) -> int:
    """Return the checksum's state behind a network's prefix (BIP173's hrp expansion)."""
    text = prefix.encode("ascii")
    return _polymod(bytes([*(c >> 5 for c in text), 0, *(c & 31 for c in text)]), 1)


def _polymod(values: bytes, state: int) -> int:
    """Return the state of BIP173's checksum behind some more values."""
    for value in values:
        state = (state & 0x1FFFFFF) << 5 ^ value ^ _TAPS[state >> 25]
    return state


def _taps() -> Iterator[int]:
    """Yield what is added to the checksum for each five bits that leave it."""
    generator = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)  # BIP173
    for top in range(32):
        yield reduce(xor, (g for bit, g in enumerate(generator) if top >> bit & 1), 0)


_TAPS: Final = tuple(_taps())


def _program(values: list[int]) -> bytes:
    spare = len(values) * 5 % 8
    if spare > 4 or (values and values[-1] & ((1 << spare) - 1)):
        raise AddressError("not an address: wrong padding")
    return _bytes_of(values)[: len(values) * 5 // 8]


def _bytes_of(values: list[int]) -> bytes:
    """Return the bits of values of five bits each, filled with zeros to whole bytes."""
    number = 0
    for value in values:
        number = number << 5 | value
    spare = -len(values) * 5 % 8
    return (number << spare).to_bytes((len(values) * 5 + spare) // 8, "big")
