"""Which scripts are the wallet's own: told by deriving the key, never by what a file claims."""

from collections.abc import Mapping

from wallet.account import Account, Branch
from wallet.book import Place
from wallet.derivation import HARDENED, Origin
from wallet.scan import GAP_LIMIT
from wallet.state import State


class OwnScripts:
    """The scripts of an account that are known without asking a node."""

    def __init__(self, account: Account, state: State) -> None:
        self._account = account
        self._places: dict[bytes, Place] = {
            account.script(branch, index): (branch, index)
            for branch in Branch
            for index in range(state.fresh(branch) + GAP_LIMIT)
        }

    def place(self, script: bytes, origins: Mapping[bytes, Origin]) -> Place | None:
        """Return the place of a script, if it is own.

        `origins` are hints where the key may come from; a false one is found out.
        """
        known = self._places.get(script)
        if known is not None:
            return known
        for origin in origins.values():
            place = _claimed(origin)
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
