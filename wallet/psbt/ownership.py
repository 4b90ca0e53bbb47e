"""Which scripts are the wallet's own: told by deriving the key, never by what a file claims."""

from collections.abc import Mapping

from chain.primitives.hashes import hash160
from chain.primitives.key_origin import HARDENED, Origin
from chain.primitives.script import p2wpkh_script
from wallet.history.book import KeyIndex
from wallet.history.scan import GAP_LIMIT
from wallet.keys.account import Account, Keychain
from wallet.store.state import State


class WalletScripts:
    """The scripts of an account that are known without asking a node."""

    def __init__(self, account: Account, state: State) -> None:
        self._account = account
        self._near = {keychain: state.known(keychain) + GAP_LIMIT for keychain in Keychain}
        self._key_indexes: dict[bytes, KeyIndex] = {
            account.script(keychain, index): (keychain, index)
            for keychain in Keychain
            for index in range(self._near[keychain])
        }

    def is_near(self, key_index: KeyIndex) -> bool:
        """Tell whether this wallet looks that far for coins.

        What is paid further out is lost to a wallet that was restored, and a maker of PSBTs who
        knows the number could sell it to the owner.
        """
        keychain, index = key_index
        return index < self._near[keychain]

    def key_index(self, script: bytes, origins: Mapping[bytes, Origin]) -> KeyIndex | None:
        """Return the place of a script, if it is own.

        `origins` are hints where the key may come from; a false one is found out.
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
    """Return the place that an origin claims: its last two steps."""
    if len(origin.path) < 2:
        return None
    keychain, index = origin.path[-2:]
    if keychain not in set(Keychain) or index >= HARDENED:
        return None
    return Keychain(keychain), index
