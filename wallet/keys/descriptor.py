"""Output descriptors (BIP380, BIP389) of an account: text with which other wallets can watch it."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from chain.consensus.params import Params
from chain.primitives.descriptor import DescriptorError, checksum, split_checksum
from chain.primitives.extended_key import decode_node
from chain.primitives.key_origin import DerivationError, parse_origin
from wallet.errors import InputError
from wallet.keys.account import Account, Keychain, is_test

if TYPE_CHECKING:
    from chain.primitives.key_origin import Origin

_DEPTH_MAX: Final = 253  # an address is two steps below the key; the maximum is 255 (BIP32)
_CHARACTERS_MAX: Final = 1_000
_BOTH: Final = "<0;1>"  # BIP389: one text for the receive and the change branch
_FORM: Final = re.compile(
    r"wpkh\((?:\[(?P<origin>[^\]]*)\])?(?P<key>\w+)/(?P<branch><0;1>|0|1)/\*\)", re.ASCII
)
_HELP: Final = "it must be wpkh([…]xpub…/<0;1>/*), as groat-wallet export prints it"


def descriptor(account: Account, keychain: Keychain | None = None) -> str:
    """Return the descriptor, with checksum, of both branches or of one."""
    place = _BOTH if keychain is None else str(int(keychain))
    text = f"wpkh({account.encode()}/{place}/*)"
    return f"{text}#{checksum(text)}"


def read_descriptors(texts: Sequence[str], params: Params) -> Account:
    """Return the account that one descriptor of both branches, or one of each branch, describes.

    Raises InputError: another form, wrong checksum, a private key, another network's key, or one
    branch only.
    """
    found = [_read(text, params) for text in texts]
    branches = sorted(keychain for _, keychain in found)
    accounts = {account.encode() for account, _ in found}
    if branches not in ([_BOTH], ["0", "1"]) or len(accounts) != 1:
        raise InputError("give one descriptor with /<0;1>/*, or two of one key with /0/* and /1/*")
    return found[0][0]


def _read(text: str, params: Params) -> tuple[Account, str]:
    if len(text) > _CHARACTERS_MAX:
        raise InputError(f"not a descriptor: {_HELP}")
    try:
        body = split_checksum(text)
    except DescriptorError as error:
        raise InputError(str(error)) from None
    form = _FORM.fullmatch(body)
    if form is None:
        raise InputError(f"not a descriptor that this wallet can watch: {_HELP}")
    try:
        node = decode_node(form["key"])
        origin: Origin | None = None if form["origin"] is None else parse_origin(form["origin"])
    except DerivationError as error:
        raise InputError(f"in the descriptor: {error}") from None
    if node.is_private:
        raise InputError("the descriptor has a private key: use one with the public key")
    if node.encode(test=is_test(params)) != form["key"]:
        raise InputError(f"the descriptor's key is not of network {params.name}")
    if node.depth > _DEPTH_MAX:
        raise InputError("the descriptor's key is too deep in its tree to have addresses")
    return Account(node, params, origin), form["branch"]
