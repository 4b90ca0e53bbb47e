"""Addresses: segwit programs in bech32 (BIP173) and bech32m (BIP350)."""

import re
from typing import Final

from btclib import bech32
from btclib.exceptions import BTClibValueError

from chain.primitives.script import OP_1, OP_16, p2wpkh_script

ADDRESS_CHARACTERS_MAX: Final = 90  # BIP173
_BASE58: Final = "[1-9A-HJ-NP-Za-km-z]"
# What people paste where an address is expected, besides addresses; the first that fits is named.
_OTHER_KINDS: Final = (
    (
        re.compile(f"[KL]{_BASE58}{{51}}|[59]{_BASE58}{{50}}|[xyzt]prv{_BASE58}{{50,}}"),
        "a private key, which nobody else should see",
    ),
    (re.compile(f"[xyztuv]pub{_BASE58}{{50,}}"), "an extended public key"),
    (re.compile(f"{_BASE58}{{25,45}}"), "in Base58, as other kinds and chains have them"),
    (re.compile("0x[0-9A-Fa-f]{40}"), "of Ethereum's kind"),
    (re.compile("0[23][0-9A-Fa-f]{64}|04[0-9A-Fa-f]{128}"), "a public key"),
    (re.compile("ln(bc|tb|bcrt)[0-9a-z]{50,}", re.IGNORECASE), "a Lightning invoice"),
    (re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+"), "an e-mail address"),
)
_OTHER_PREFIX: Final = re.compile("([a-z]{1,20})1[02-9ac-hj-np-z]{6,}", re.IGNORECASE)


class AddressError(ValueError):
    """Text that is not an address of this network; says what is wrong with it."""


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
    encoded: bytes = bech32.encode(prefix, [version, *_regroup(script[2:], 8, 5)])
    return encoded.decode("ascii")


def address_script(address: str, prefix: str) -> bytes:
    """Return the output script that `address` asks to pay to.

    Raises AddressError: wrong network prefix, checksum, case, length, version or padding.
    """
    if not address.lower().startswith(f"{prefix}1"):
        raise AddressError(_other_kind(address, prefix))
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


def _other_kind(text: str, prefix: str) -> str:
    """Return what a text is that does not start like an address of this network."""
    accepted = f"addresses here start with {prefix}1"
    for pattern, what in _OTHER_KINDS:
        if pattern.fullmatch(text):
            return f"not an address of this network: it is {what}; {accepted}"
    found = _OTHER_PREFIX.fullmatch(text)
    if found is not None and len(text) <= ADDRESS_CHARACTERS_MAX:
        other = found[1].lower()
        return f"address of another network: it starts with {other}1, not {prefix}1"
    return f"not an address: {accepted}"


def _program(values: list[int]) -> bytes:
    spare = len(values) * 5 % 8
    if spare > 4 or (values and values[-1] & ((1 << spare) - 1)):
        raise AddressError("not an address: wrong padding")
    return bytes(_regroup(values, 5, 8)[: len(values) * 5 // 8])


def _regroup(values: bytes | list[int], width_in: int, width_out: int) -> list[int]:
    """Return the same bits in groups of another width, the last one filled with zeros."""
    held, bits, groups = 0, 0, []
    for value in values:
        held = (held << width_in | value) & 0xFFF
        bits += width_in
        while bits >= width_out:
            bits -= width_out
            groups.append(held >> bits & ((1 << width_out) - 1))
    if bits:
        groups.append(held << (width_out - bits) & ((1 << width_out) - 1))
    return groups
