"""Addresses: witness programs in bech32 (BIP173) and bech32m (BIP350), hashes in base58check."""

import re
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import getitem, xor
from typing import Final

from btclib import base58, bech32
from btclib.exceptions import BTClibValueError

from chain.primitives.script import (
    OP_1,
    is_p2pkh,
    is_p2sh,
    p2pkh_script,
    p2sh_script,
    witness_program,
)

ADDRESS_CHARACTERS_MAX: Final = 90  # BIP173
_BECH32M: Final = 0x2BC830A3  # BIP350
_CHARACTERS: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BASE32_DIGITS: Final = str.maketrans(_CHARACTERS, "0123456789abcdefghijklmnopqrstuv")
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
BASE58_CHARACTERS: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58: Final = "[1-9A-HJ-NP-Za-km-z]"
# What people paste where an address is expected, besides addresses; the first that fits is named.
_OTHER_KINDS: Final = (
    (
        re.compile(f"[KL]{_BASE58}{{51}}|[59]{_BASE58}{{50}}|[xyzt]prv{_BASE58}{{50,}}"),
        "a private key, which nobody else should see",
    ),
    (re.compile(f"[xyztuv]pub{_BASE58}{{50,}}"), "an extended public key"),
    (re.compile("0x[0-9A-Fa-f]{40}"), "of Ethereum's kind"),
    (re.compile("0[23][0-9A-Fa-f]{64}|04[0-9A-Fa-f]{128}"), "a public key"),
    (re.compile("ln(bc|tb|bcrt)[0-9a-z]{50,}", re.IGNORECASE), "a Lightning invoice"),
    (re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+"), "an e-mail address"),
)
_OTHER_PREFIX: Final = re.compile("([a-z]{1,20})1[02-9ac-hj-np-z]{6,}", re.IGNORECASE)
_BASE58_ADDRESS: Final = re.compile(f"{_BASE58}{{26,35}}")  # of a version byte and 20 bytes
_BASE58_PAYLOAD_BYTES: Final = 21


class AddressError(ValueError):
    """Text that is not an address of this network; the message says why."""


@dataclass(frozen=True, slots=True)
class AddressPrefixes:
    """What the addresses of a network start with."""

    bech32: str
    pubkey: int  # the version byte of P2PKH in base58check
    script: int  # of P2SH


def p2wpkh_address(key_hash: bytes, prefix: str) -> str:
    """Return the address, with the network's bech32 `prefix`, of a 20-byte key hash."""
    assert len(key_hash) == 20, "a key hash has 20 bytes"
    return _encode(prefix, 0, key_hash)


def script_address(script: bytes, prefixes: AddressPrefixes) -> str | None:
    """Return the address that pays to `script`, or None if it has none.

    P2PKH, P2SH, and every witness program have one, except one of version 0 that is of neither 20
    nor 32 bytes (Bitcoin: ExtractDestination, EncodeDestination).
    """
    if is_p2pkh(script):
        return _encode_base58(prefixes.pubkey, script[3:23])
    if is_p2sh(script):
        return _encode_base58(prefixes.script, script[2:22])
    found = witness_program(script)
    if found is None or (found[0] == 0 and len(found[1]) not in {20, 32}):
        return None
    return _encode(prefixes.bech32, *found)


def address_script(address: str, prefixes: AddressPrefixes) -> bytes:
    """Return the output script of `address` (Bitcoin: DecodeDestination).

    Raises AddressError: of another network; checksum, case, length, version or padding.
    """
    payload = base58_payload(address)
    if payload is not None:
        return _base58_script(payload, prefixes)
    if address.lower().startswith(f"{prefixes.bech32}1"):
        return _witness_script(address, prefixes.bech32)
    raise AddressError(_other_kind(address, prefixes.bech32))


def shown_address_script(address: str, prefixes: AddressPrefixes) -> bytes | None:
    """Return the script of which `script_address` makes this address in bech32, if there is one.

    For what is only looked up, as only the encoder says that the address is right. Takes a quarter
    of `address_script`'s time.
    """
    prefix = prefixes.bech32
    version = _CHARACTERS.find(address[len(prefix) + 1 : len(prefix) + 2])
    digits = address[len(prefix) + 2 : -6].translate(_BASE32_DIGITS)
    size, spare = divmod(len(digits) * 5, 8)
    if not (size in {20, 32} if version == 0 else 1 <= version <= 16 and 2 <= size <= 40):
        return None
    try:
        program = (int(digits, 32) >> spare).to_bytes(size, "big")
    except (ValueError, OverflowError):
        return None
    if _encode(prefix, version, program) != address:
        return None
    return bytes([version and OP_1 + version - 1, size]) + program


def foreign_address_scripts(address: str) -> list[bytes]:
    """Return the output scripts that `address` may mean on a network that is not known.

    In Base58, only the network knows whether it is the hash of a key or of a script. Raises
    AddressError, as `address_script`.
    """
    payload = base58_payload(address)
    if payload is not None:
        return [p2pkh_script(payload[1:]), p2sh_script(payload[1:])]
    prefix = address.lower().rpartition("1")[0]
    if not prefix:
        raise AddressError(_other_kind(address, ""))
    return [_witness_script(address, prefix)]


def is_base58_form(text: str) -> bool:
    """Return whether a text has the characters and the length of an address in base58check."""
    return _BASE58_ADDRESS.fullmatch(text) is not None


def base58_payload(text: str) -> bytes | None:
    """Return version byte and hash (20 bytes) of a base58check address of any network, or None."""
    if not is_base58_form(text):
        return None
    try:
        payload = base58.decode(text)
    except BTClibValueError:
        return None
    return payload if len(payload) == _BASE58_PAYLOAD_BYTES else None


def _base58_script(payload: bytes, prefixes: AddressPrefixes) -> bytes:
    version, hashed = payload[0], payload[1:]
    if version == prefixes.pubkey:
        return p2pkh_script(hashed)
    if version == prefixes.script:
        return p2sh_script(hashed)
    ours = f"{prefixes.pubkey} and {prefixes.script}"
    raise AddressError(
        f"address of another network: its version byte is {version}, addresses here have {ours}"
    )


def _encode_base58(version: int, hashed: bytes) -> str:
    return base58.encode(bytes([version]) + hashed).decode()


def _witness_script(address: str, prefix: str) -> bytes:
    if len(address) > ADDRESS_CHARACTERS_MAX:
        raise AddressError(f"an address has at most {ADDRESS_CHARACTERS_MAX} characters")
    try:
        found, values = bech32.decode(address)
    except BTClibValueError as error:
        raise AddressError(f"not an address: {error}") from error
    if found != prefix:  # the separator is the last 1
        raise AddressError(f"not an address: it starts with {found}1, not {prefix}1")
    version, program = values[0], _program(values[1:])
    if version > 16 or not 2 <= len(program) <= 40:
        raise AddressError("not an address: no such witness program")
    if version == 0 and len(program) not in {20, 32}:
        raise AddressError("not an address: a version 0 program has 20 or 32 bytes")
    return bytes([version and OP_1 + version - 1, len(program)]) + program


def _encode(prefix: str, version: int, program: bytes) -> str:
    """Return the address of a witness program (BIP173, BIP350).

    The bits of the program are spread over bytes of five all at once, and its characters add to
    the checksum independently of one another: addresses are a good part of the time of a page of
    transactions, and btclib's encoder takes five times as long.
    """
    size = len(program)
    count = -(-size * 8 // 5)
    room = 32 if count <= 32 else _DIGITS_MAX
    number = int.from_bytes(program, "big") << 5 * room - 8 * size
    for low, high, shift in _SPREAD[room]:
        number = number & low | (number & high) << shift
    digits = number.to_bytes(room, "big")[:count]
    parts = map(getitem, _CHECKSUM_PARTS[-count:], digits)
    checksum = reduce(xor, parts, _checksum_start(prefix, version, count))
    text = digits.translate(_CHARACTER_OF).decode("ascii")
    ends = (_PAIRS[checksum >> 20], _PAIRS[checksum >> 10 & 0x3FF], _PAIRS[checksum & 0x3FF])
    return f"{prefix}1{_CHARACTERS[version]}{text}{''.join(ends)}"


def _spread(room: int) -> tuple[tuple[int, int, int], ...]:
    """Return the steps from a number of `room` digits of five bits to one of as many bytes.

    Each moves one half of the bits of all lanes, `high`, up by `shift`, so that both halves have
    lanes of half the width.
    """
    steps = []
    lanes = 1
    while lanes < room:
        lane, half = 8 * room // lanes, 5 * room // lanes // 2
        low = sum(((1 << half) - 1) << lane * at for at in range(lanes))
        steps.append((low, low << half, lane // 2 - half))
        lanes *= 2
    return tuple(steps)


@lru_cache(maxsize=256)
def _checksum_start(prefix: str, version: int, count: int) -> int:
    """Return the part of prefix, version and constant in the checksum; `count` digits follow."""
    text = prefix.encode("ascii")
    values = (*(c >> 5 for c in text), 0, *(c & 31 for c in text), version)  # BIP173's expansion
    return _behind(reduce(_step, values, 1), count) ^ (_BECH32M if version else 1)


def _behind(state: int, count: int) -> int:
    """Return the checksum's state after `count` digits of zero and its own six."""
    return reduce(_step, bytes(count + 6), state)


def _checksum_parts() -> tuple[tuple[int, ...], ...]:
    """Return what each digit adds to the checksum, by how many digits follow, most first."""
    parts = [tuple(_behind(digit, 0) for digit in range(32))]
    while len(parts) < _DIGITS_MAX:
        parts.append(tuple(_step(part, 0) for part in parts[-1]))
    return tuple(reversed(parts))


def _step(state: int, value: int) -> int:
    """Return the state of BIP173's checksum behind one more value of five bits."""
    taps = (g for bit, g in enumerate(_GENERATOR) if state >> 25 >> bit & 1)
    return reduce(xor, taps, (state & 0x1FFFFFF) << 5 ^ value)


_DIGITS_MAX: Final = 64  # of a program of 40 bytes
_SPREAD: Final = {room: _spread(room) for room in (32, _DIGITS_MAX)}
_PAIRS: Final = tuple(first + second for first in _CHARACTERS for second in _CHARACTERS)
_CHARACTER_OF: Final = _CHARACTERS.encode().ljust(256)
_CHECKSUM_PARTS: Final = _checksum_parts()


def _other_kind(text: str, prefix: str) -> str:
    """Return what a text is that does not start like an address of this network."""
    start = f"start with {prefix}1 or are" if prefix else "are in bech32 or"
    accepted = f"addresses here {start} in Base58"
    for pattern, what in _OTHER_KINDS:
        if pattern.fullmatch(text):
            return f"not an address of this network: it is {what}; {accepted}"
    if is_base58_form(text):
        return "not an address: its checksum is wrong, so it is mistyped or incomplete"
    found = _OTHER_PREFIX.fullmatch(text)
    if found is not None and len(text) <= ADDRESS_CHARACTERS_MAX:
        other = found[1].lower()
        return f"address of another network: it starts with {other}1, not {prefix}1"
    return f"not an address: {accepted}"


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
