"""The account of a wallet (BIP84): its addresses, in two branches, and the keys behind them."""

from enum import IntEnum
from typing import Final

from chain.consensus.params import Params
from chain.primitives.address import p2wpkh_address
from chain.primitives.hashes import hash160
from chain.primitives.script import p2wpkh_script
from wallet.derivation import HARDENED, DerivationError, Node
from wallet.secret import Secret

_PURPOSE: Final = 84
_TEST_COIN_TYPE: Final = 1  # SLIP-44: every test network


class Branch(IntEnum):
    """Which half of an account an address is in; the number is BIP84's."""

    RECEIVE = 0
    CHANGE = 1


class Account:
    """The public side of account 0: enough to see all coins, not to spend any."""

    def __init__(self, node: Node, params: Params) -> None:
        assert not node.is_private, "an account holds no private key"
        self.node = node
        self.params = params
        self._branches = {branch: node.child(branch) for branch in Branch}
        self._key_hashes: dict[tuple[Branch, int], bytes] = {}

    def key_hash(self, branch: Branch, index: int) -> bytes:
        """Return the HASH160 of a public key. Raises DerivationError: index is 2^31 or more."""
        known = self._key_hashes.get((branch, index))
        if known is None:
            if index >= HARDENED:
                raise DerivationError(f"an address index is below {HARDENED}")
            known = hash160(self._branches[branch].child(index).key)
            self._key_hashes[branch, index] = known
        return known

    def script(self, branch: Branch, index: int) -> bytes:
        """Return the output script that pays to an address of the account."""
        return p2wpkh_script(self.key_hash(branch, index))

    def address(self, branch: Branch, index: int) -> str:
        """Return an address of the account."""
        return p2wpkh_address(self.key_hash(branch, index), self.params.bech32_prefix)

    def encode(self) -> str:
        """Return the account's extended public key as text."""
        return self.node.encode(test=is_test(self.params))


def account_key(secret: Secret, params: Params) -> Node:
    """Return the private key of account 0: m/84'/coin type'/0' (BIP84)."""
    purpose, coin_type = HARDENED + _PURPOSE, HARDENED + params.bip44_coin_type
    return secret.root().descend(purpose, coin_type, HARDENED)


def is_test(params: Params) -> bool:
    """Tell whether the network's coins are worth nothing, going by its coin type."""
    return params.bip44_coin_type == _TEST_COIN_TYPE
