"""The wallet's own scripts: found by deriving the key, not by a file's claims."""

from collections.abc import Mapping

from chain.primitives.hashes import hash160
from chain.primitives.key_origin import HARDENED, Origin
from chain.primitives.script import p2wpkh_script
from wallet.history.book import KeyIndex
from wallet.history.scan import GAP_LIMIT
from wallet.keys.account import Account, Keychain
from wallet.store.state import State


class WalletScripts:
    """The scripts of an account that are known without a node."""

    def __init__(self, account: Account, state: State) -> None:
        self._account = account
        self._near = {keychain: state.known(keychain) + GAP_LIMIT for keychain in Keychain}
        self._key_indexes: dict[bytes, KeyIndex] = {
            account.script(keychain, index): (keychain, index)
            for keychain in Keychain
            for index in range(self._near[keychain])
        }

    def is_near(self, key_index: KeyIndex) -> bool:
        """Return whether this wallet's scan reaches that far.

        A restored wallet does not find coins further out, and a creator of PSBTs who knows the
        index could demand a ransom for it.
        """
        keychain, index = key_index
        return index < self._near[keychain]

    def key_index(self, script: bytes, origins: Mapping[bytes, Origin]) -> KeyIndex | None:
        """Return the index of a script, if it is the wallet's own.

        `origins` are hints at the key's derivation path; wrong ones are detected.
        """
        known = self._key_indexes.get(script)
        if known is not None:
            return known
        for key, origin in origins.items():
            key_index = _claimed(origin) if p2wpkh_script(hash160(key)) == script else None
            if key_index is not None and self._account.script(*key_index) == script:
                return key_index
        return None


def _claimed(origin: Origin) -> KeyIndex | None:
    """Return the index that an origin claims: its last two steps."""
    if len(origin.path) < 2:
        return None
    keychain, index = origin.path[-2:]
    if keychain not in set(Keychain) or index >= HARDENED:
        return None
    return Keychain(keychain), index
