"""P2WPKH's fast way, watched: for every spend that it takes, the engine is asked, too."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from chain.consensus import spend as module
from chain.script.checks import DirectChecker
from chain.script.errors import ScriptVerifyError
from chain.script.flags import CONSENSUS
from chain.script.spend import verify_spend


class FastWay:
    """How many spends it took."""

    def __init__(self) -> None:
        self.seen = 0


@contextmanager
def watched() -> Iterator[FastWay]:
    """Compare each check of the fast way with the engine's verdict, while this lasts."""
    found, plain = FastWay(), module._p2wpkh_check

    def compared(hashes, index, coin):
        check = plain(hashes, index, coin)
        if check is not None:
            found.seen += 1
            assert check.is_right() is _passes(hashes, index), (hashes.transaction.raw.hex(), coin)
        return check

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_p2wpkh_check", compared)
        yield found


def _passes(hashes, index) -> bool:
    try:  # the engine itself, whatever a test puts in its place
        verify_spend(hashes, index, CONSENSUS, DirectChecker())
    except ScriptVerifyError:
        return False
    return True
