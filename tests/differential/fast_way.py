"""The fast ways, watched.

For every spend that P2WPKH's takes, the engine is asked, too; every block that is connected in
columns is connected one transaction after the other as well; and blocks in runs are counted.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from chain.consensus import block_validation
from chain.consensus import spend as module
from chain.ledger.chainstate import Chainstate
from chain.primitives import block as block_module
from chain.script.checks import DirectChecker
from chain.script.errors import ScriptVerifyError
from chain.script.flags import CONSENSUS
from chain.script.spend import verify_spend


class FastWay:
    """How many spends and blocks they took."""

    def __init__(self) -> None:
        self.seen = 0
        self.blocks = 0
        self.in_runs = 0


@contextmanager
def watched() -> Iterator[FastWay]:
    """Compare what the fast ways take with the other ways, while this lasts.

    Blocks of any size are read by compiled code, which the way in columns needs.
    """
    found, plain = FastWay(), module._p2wpkh_check
    in_columns = block_validation._BlockConnection.add_usual_payments

    def compared(hashes, index, coin):
        check = plain(hashes, index, coin)
        if check is not None:
            found.seen += 1
            assert check.is_right() is _passes(hashes, index), (hashes.transaction.raw.hex(), coin)
        return check

    def compared_block(connecting):
        if not in_columns(connecting):
            return False
        found.blocks += 1
        assert _effects(connecting) == _effects(_one_by_one(connecting))
        return True

    extend_run = Chainstate.extend_run

    def counted_run(chainstate, blocks, times):
        extensions = extend_run(chainstate, blocks, times)
        found.in_runs += len(extensions or ())
        return extensions

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Chainstate, "extend_run", counted_run)
        patched.setattr(module, "_p2wpkh_check", compared)
        patched.setattr(block_module, "_COLUMNS_MIN", 1)
        patched.setattr(block_validation._BlockConnection, "add_usual_payments", compared_block)
        yield found


def _one_by_one(connecting):
    """Connect the same block again, each transaction on its own."""
    args = connecting.coins, connecting.params, connecting.verified
    again = block_validation._BlockConnection(connecting.block, connecting.parent, *args)
    again.add_coinbase(connecting.block.transactions[0])
    for transaction in connecting.block.transactions[1:]:
        block_validation.check_transaction(transaction, connecting.params)
        again.add_payment(transaction)
    return again


def _effects(connecting):
    checks = [(check.transaction, check.index, check.record) for check in connecting.checks]
    coins = list(connecting.spent), connecting.removed, connecting.created
    return checks, *coins, connecting.fees, connecting.sigops_cost


def _passes(hashes, index) -> bool:
    try:  # the engine itself, whatever a test puts in its place
        verify_spend(hashes, index, CONSENSUS, DirectChecker())
    except ScriptVerifyError:
        return False
    return True
