"""Recipients: typed addresses, checked, with a hint at the place of a mistake."""

from collections import deque
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote

from chain.consensus.params import NETWORKS, Params
from chain.primitives.address import (
    ADDRESS_CHARACTERS_MAX,
    BASE58_CHARACTERS,
    AddressError,
    address_script,
    base58_payload,
    is_base58_form,
    script_address,
)
from chain.primitives.numbers import Amount
from chain.primitives.script import op_return
from chain.printable import printable
from wallet.amounts import amount_text, parse_amount
from wallet.errors import InputError
from wallet.spend.foreign_address import foreign_chain

MAX_WORD: Final = "max"
_MAX_WORDS: Final = frozenset({MAX_WORD, "all"})
DATA_BYTES_MAX: Final = 80  # the most that nodes before Bitcoin Core 30 relay
_CHARACTERS: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"  # BIP173
_HEX_PREFIX: Final = "0x"
_SCHEMES: Final = frozenset({"groat", "bitcoin"})
_URI_CHARACTERS_MAX: Final = 2_000
_SHOWN_CHARACTERS_MAX: Final = 90


@dataclass(frozen=True, slots=True)
class Recipient:
    """A script to pay and the amount; None means everything that is left."""

    address: str
    script: bytes
    amount: Amount | None


def parse_recipients(words: list[str], params: Params) -> list[Recipient]:
    """Return the recipients of ADDRESS AMOUNT [ADDRESS AMOUNT ...].

    A payment request (BIP21) stands for an address, and for the amount too if it holds one.
    Raises InputError: an odd number, a bad address or amount, more than one "max".
    """
    recipients = []
    left = deque(words)
    while left:
        address, amount = left.popleft().strip(), None
        if ":" in address:
            address, amount = _read_uri(address)
        if amount is None:
            if not left:
                shown = printable(address, _SHOWN_CHARACTERS_MAX)
                raise InputError(
                    f"no amount for {shown}: recipients come in pairs, ADDRESS AMOUNT, or as "
                    "payment requests that hold one, groat:ADDRESS?amount=1"
                )
            amount = left.popleft()
        script = parse_address(address, params)
        grains = None if amount.strip() in _MAX_WORDS else parse_amount(amount, params)
        recipients.append(Recipient(usual_address(script, params), script, grains))
    if sum(each.amount is None for each in recipients) > 1:
        raise InputError(f"only one recipient can get {MAX_WORD!r}")
    return recipients


def parse_address(text: str, params: Params) -> bytes:
    """Return the script that an address pays to.

    Raises InputError: mistyped, with the place if it can be found, or of another network.
    """
    text = text.strip()  # copied text may end in a blank or a carriage return
    try:
        return address_script(text, params.address_prefixes)
    except AddressError as error:
        reason = _explain(text, params) or _explain_chain(text, params)
        shown = printable(text, _SHOWN_CHARACTERS_MAX)
        raise InputError(f"{shown!r}: {reason or printable(str(error))}") from None


def usual_address(script: bytes, params: Params) -> str:
    """Return the address of a script that was read from one, in its usual case."""
    address = script_address(script, params.address_prefixes)
    assert address is not None, "the script was read from an address"
    return address


def parse_data(text: str) -> bytes:
    """Return the OP_RETURN script for data given as text, or as hex behind 0x.

    Raises InputError: not hex, empty, or more than DATA_BYTES_MAX bytes.
    """
    if text.startswith(_HEX_PREFIX):
        try:
            data = bytes.fromhex(text.removeprefix(_HEX_PREFIX))
        except ValueError:
            shown = printable(text, 40)
            raise InputError(f"--data {shown!r}: what follows 0x is not hex") from None
    else:
        data = text.encode(errors="surrogateescape")
    if not 1 <= len(data) <= DATA_BYTES_MAX:
        raise InputError(f"--data: {len(data)} bytes; nodes relay 1 to {DATA_BYTES_MAX}")
    return op_return(data)


def payment_uri(address: str, params: Params, amount: Amount | None, label: str | None) -> str:
    """Return a payment request (BIP21); on regtest its scheme is Bitcoin's, as its addresses."""
    scheme = "bitcoin" if params.name == "regtest" else "groat"
    fields = []
    if amount is not None:
        fields.append(f"amount={amount_text(amount).rstrip('0').rstrip('.')}")
    if label is not None:
        fields.append(f"label={quote(label, safe='')}")
    return f"{scheme}:{address}" + ("?" + "&".join(fields) if fields else "")


def _read_uri(uri: str) -> tuple[str, str | None]:
    """Return the address and the amount of a payment request, as text.

    Raises InputError: not a payment request, or one with an unknown required parameter.
    """
    scheme, _, rest = uri.partition(":")
    if scheme.lower() not in _SCHEMES or len(uri) > _URI_CHARACTERS_MAX:
        raise InputError(f"not a payment request: {printable(uri, 40)!r} (groat:ADDRESS?amount=1)")
    address, _, query = rest.partition("?")
    address = address.removeprefix("//").removesuffix("/")  # as if it were a web address
    if not address:
        raise InputError(f"{printable(uri, 40)!r}: it names no address (groat:ADDRESS?amount=1)")
    amounts = []
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name.lower().startswith("req-"):
            raise InputError(f"the payment request requires {printable(name, 40)!r}: not supported")
        if name == "amount":
            amounts.append(value)
    if len(amounts) > 1:
        raise InputError(f"{printable(uri, _SHOWN_CHARACTERS_MAX)!r}: it names two amounts")
    if _MAX_WORDS.intersection(amounts):
        raise InputError(f"the payment request names no amount but {amounts[0]!r}")
    return address, amounts[0] if amounts else None


def _explain(text: str, params: Params) -> str | None:
    """Return what is wrong with a mistyped address, if more is known than "not an address"."""
    if is_base58_form(text):
        return _explain_base58(text, params)
    lowered = text.lower()
    if _is_address(lowered, params):
        return None  # except for its case
    prefix = params.bech32_prefix + "1"
    if not lowered.startswith(prefix):
        return _explain_network(lowered, params)
    for at, character in enumerate(lowered[len(prefix) :], len(prefix) + 1):
        if character not in _CHARACTERS:
            shown = printable(character) or "?"
            return f"mistyped address: character {at} is {shown!r}, which no address holds"
    return _explain_mistake(_find_mistake(lowered, len(prefix), _CHARACTERS, params))


def _explain_base58(text: str, params: Params) -> str | None:
    payload = base58_payload(text)
    if payload is None:
        return _explain_mistake(_find_mistake(text, 0, BASE58_CHARACTERS, params))
    others = [
        other.name
        for other in NETWORKS.values()
        if payload[0] in {other.pubkey_address_prefix, other.script_address_prefix}
    ]
    if not others:
        return None
    return f"an address of network {' or '.join(others)}; this wallet is on {params.name}"


def _explain_mistake(place: int | None) -> str | None:
    if place is None:
        return None
    return f"mistyped address: character {place} is wrong (the checksum tells)"


def _explain_network(lowered: str, params: Params) -> str | None:
    for other in NETWORKS.values():
        if lowered.startswith(other.bech32_prefix + "1"):
            return f"an address of network {other.name}; this wallet is on {params.name}"
    return None


def _explain_chain(text: str, params: Params) -> str | None:
    has_own_prefix = text.lower().startswith(params.bech32_prefix + "1")  # with a mistake in it
    chain = None if has_own_prefix else foreign_chain(text)
    if chain is None:
        return None
    article = "an" if chain[0] in "AEIOU" else "a"
    return f"{article} {chain} address; this wallet is on {params.name}"


def _find_mistake(address: str, start: int, characters: str, params: Params) -> int | None:
    """Return the place, from 1, of the only wrong character; None if it cannot be found.

    The right character is not shown: the user must check the original (BIP173's advice).
    """
    if len(address) > ADDRESS_CHARACTERS_MAX:
        return None
    for at in range(start, len(address)):
        for character in characters:
            if _is_address(address[:at] + character + address[at + 1 :], params):
                return at + 1
    return None


def _is_address(text: str, params: Params) -> bool:
    try:
        address_script(text, params.address_prefixes)
    except AddressError:
        return False
    return True
