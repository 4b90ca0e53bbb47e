"""Addresses of other chains, named: pasting one is the usual mistake of who holds several coins."""

import re
from typing import Final

from btclib import base58
from btclib.exceptions import BTClibValueError

_BECH32: Final = re.compile("([a-z]{1,20})1[02-9ac-hj-np-z]{6,}", re.IGNORECASE)
# SLIP-173's prefixes of segwit addresses and those of other chains that use bech32.
_PREFIXES: Final = {
    "bc": "Bitcoin",
    "tb": "Bitcoin testnet",
    "sp": "Bitcoin silent payment",
    "ltc": "Litecoin",
    "tltc": "Litecoin testnet",
    "vtc": "Vertcoin",
    "dgb": "DigiByte",
    "grs": "Groestlcoin",
    "mona": "Monacoin",
    "btg": "Bitcoin Gold",
    "nc": "Namecoin",
    "ex": "Liquid",
    "lq": "Liquid",
    "addr": "Cardano",
    "cosmos": "Cosmos",
}
# What the payload of Base58Check begins with, and its length in bytes (the chains' base58Prefixes).
_VERSIONS: Final = (
    (b"\x00", 21, "Bitcoin"),
    (b"\x05", 21, "Bitcoin"),
    (b"\x6f", 21, "Bitcoin testnet"),
    (b"\xc4", 21, "Bitcoin testnet"),
    (b"\x30", 21, "Litecoin"),
    (b"\x32", 21, "Litecoin"),
    (b"\x1e", 21, "Dogecoin"),
    (b"\x16", 21, "Dogecoin"),
    (b"\x4c", 21, "Dash"),
    (b"\x10", 21, "Dash"),
    (b"\x41", 21, "Tron"),
    (b"\x1c\xb8", 22, "Zcash"),
    (b"\x1c\xbd", 22, "Zcash"),
)
_CHARACTERS_MAX: Final = 120  # a longer text is no address
_FORMS: Final = (
    (re.compile("0x[0-9a-fA-F]{40}"), "Ethereum"),
    (re.compile("[48][1-9A-HJ-NP-Za-km-z]{94}"), "Monero"),
)


def foreign_chain(text: str) -> str | None:
    """Return the chain that an address is of, by its prefix or checksum; None: not recognized.

    Other chains may share a prefix with the one named: Bitcoin Cash has Bitcoin's old ones.
    """
    if len(text) > _CHARACTERS_MAX:
        return None
    for form, chain in _FORMS:
        if form.fullmatch(text):
            return chain
    found = _BECH32.fullmatch(text)
    if found is not None:
        return _PREFIXES.get(found[1].lower())
    try:
        payload = base58.decode(text)
    except BTClibValueError:
        return None
    for version, size, chain in _VERSIONS:
        if payload.startswith(version) and len(payload) == size:
            return chain
    return None
