"""Which scripts are the wallet's own: told by deriving the key, never by what a file claims."""

from collections.abc import Mapping

from chain.primitives.hashes import hash160
from chain.primitives.key_origin import HARDENED, Origin
from chain.primitives.script import p2wpkh_script
from wallet.account import Account, Branch
from wallet.book import Place
from wallet.scan import GAP_LIMIT
from wallet.state import State


class OwnScripts:
    """The scripts of an account that are known without asking a node."""

    def __init__(self, account: Account, state: State) -> None:
        self._account = account
        self._near = {branch: state.known(branch) + GAP_LIMIT for branch in Branch}
        self._places: dict[bytes, Place] = {
            account.script(branch, index): (branch, index)
            for branch in Branch
            for index in range(self._near[branch])
        }

    def is_near(self, place: Place) -> bool:
        """Tell whether this wallet looks that far for coins.

        What is paid further out is lost to a wallet that was restored, and a maker of PSBTs who
        knows the number could sell it to the owner.
        """
        branch, index = place
        return index < self._near[branch]

    def place(self, script: bytes, origins: Mapping[bytes, Origin]) -> Place | None:
        """Return the place of a script, if it is own.

        `origins` are hints where the key may come from; a false one is found out.
        """
        known = self._places.get(script)
        if known is not None:
            return known
        for key, origin in origins.items():
            place = _claimed(origin) if p2wpkh_script(hash160(key)) == script else None
            if place is not None and self._account.script(*place) == script:
                return place
        return None


def _claimed(origin: Origin) -> Place | None:
    """Return the place that an origin claims: its last two steps."""
    if len(origin.path) < 2:
        return None
    branch, index = origin.path[-2:]
    if branch not in set(Branch) or index >= HARDENED:
        return None
    return Branch(branch), index
