"""The account of a wallet (BIP84): its addresses, in two branches, and the keys behind them."""

from enum import IntEnum
from typing import Final

from chain.consensus.params import Params
from chain.primitives.address import p2wpkh_address
from chain.primitives.extended_key import ExtendedKey, decode_node
from chain.primitives.hashes import hash160
from chain.primitives.key_origin import HARDENED, DerivationError, Origin, parse_origin
from chain.primitives.script import p2wpkh_script
from wallet.keys.secret import Secret

_PURPOSE: Final = 84
_TEST_COIN_TYPE: Final = 1  # SLIP-44: every test network


class Keychain(IntEnum):
    """The branch of an account that an address is in; the number is BIP84's."""

    RECEIVE = 0
    CHANGE = 1


class Account:
    """The public side of account 0: enough to see all coins, but not to spend them."""

    def __init__(self, node: ExtendedKey, params: Params, origin: Origin | None = None) -> None:
        """Take the account's public key, and its origin if known."""
        assert not node.is_private, "an account holds no private key"
        self.key = node
        self.params = params
        self.origin = origin
        self._keychains = {keychain: node.child(keychain) for keychain in Keychain}
        self._key_hashes: dict[tuple[Keychain, int], bytes] = {}

    def key_hash(self, keychain: Keychain, index: int) -> bytes:
        """Return the HASH160 of a public key. Raises DerivationError: index is 2^31 or more."""
        known = self._key_hashes.get((keychain, index))
        if known is None:
            if index >= HARDENED:
                raise DerivationError(f"an address index is below {HARDENED}")
            known = hash160(self._keychains[keychain].child(index).key)
            self._key_hashes[keychain, index] = known
        return known

    def script(self, keychain: Keychain, index: int) -> bytes:
        """Return the output script that pays to an address of the account."""
        return p2wpkh_script(self.key_hash(keychain, index))

    def address(self, keychain: Keychain, index: int) -> str:
        """Return an address of the account."""
        return p2wpkh_address(self.key_hash(keychain, index), self.params.bech32_prefix)

    def public_key(self, keychain: Keychain, index: int) -> bytes:
        """Return the 33 bytes of a public key. Raises DerivationError as `key_hash`."""
        return self._keychains[keychain].child(index).key

    def key_origin(self, keychain: Keychain, index: int) -> Origin:
        """Return a key's origin; relative to the account if the account's own origin is unknown."""
        account = self.origin or Origin(self.key.fingerprint, ())
        return Origin(account.fingerprint, (*account.path, int(keychain), index))

    def encode(self) -> str:
        """Return the account's extended public key as text, behind its [origin] (BIP380)."""
        key = self.key.encode(test=is_test(self.params))
        return key if self.origin is None else f"[{self.origin.text()}]{key}"


def account_key(secret: Secret, params: Params) -> ExtendedKey:
    """Return the private key of account 0: m/84'/coin type'/0' (BIP84)."""
    return secret.root().descend(*_path(params))


def open_account(secret: Secret, params: Params) -> Account:
    """Return the public side of account 0, with its origin."""
    root = secret.root()
    node = root.descend(*_path(params)).public()
    return Account(node, params, Origin(root.fingerprint, _path(params)))


def decode_account(text: str, params: Params) -> Account:
    """Return the account that `Account.encode` wrote. Raises DerivationError."""
    origin, mark, key = text.removeprefix("[").partition("]")
    if not mark:
        return Account(decode_node(text), params)
    return Account(decode_node(key), params, parse_origin(origin))


def _path(params: Params) -> tuple[int, ...]:
    return HARDENED + _PURPOSE, HARDENED + params.bip44_coin_type, HARDENED


def is_test(params: Params) -> bool:
    """Return whether the network is a test network, by its coin type."""
    return params.bip44_coin_type == _TEST_COIN_TYPE
