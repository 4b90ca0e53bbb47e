"""One spend and two engines that name errors, groat's and btclib's."""

from __future__ import annotations

from btclib.exceptions import ScriptError as ForeignError
from btclib.script.engine import to_script_flags, verify_input
from btclib.tx.tx import Tx
from btclib.tx.tx_out import TxOut as ForeignTxOut

from chain.primitives.numbers import Amount
from chain.primitives.transaction import TxOut, decode_transaction
from chain.script.checks import Checker, CheckQueue, DirectChecker
from chain.script.errors import ScriptVerifyError
from chain.script.flags import CONSENSUS, STANDARD, VerifyFlags
from chain.script.hashes import TransactionHashes
from chain.script.spend import verify_spend
from tests.script.kernel_process import Case

OTHER_NAMES = {"SIG_NULLFAIL": "NULLFAIL"}
_FOREIGN_FLAGS = {
    flags: to_script_flags([flag.name for flag in VerifyFlags if flag & flags])
    for flags in (CONSENSUS, STANDARD)
}


def spent(case: Case) -> TransactionHashes:
    coins = [TxOut(Amount(value), script) for value, script in case.coins]
    return TransactionHashes(decode_transaction(case.raw), coins)


def groat(case: Case, flags: VerifyFlags, checker: Checker | None = None) -> str:
    """Return OK or the name of the error, by groat."""
    try:
        verify_spend(spent(case), case.index, flags, checker or DirectChecker())
    except ScriptVerifyError as error:
        return error.error.name
    return "OK"


def btclib(case: Case, flags: VerifyFlags) -> str:
    """Return OK or the name of the error, by btclib."""
    coins = [ForeignTxOut(value, script, check_validity=False) for value, script in case.coins]
    tx = Tx.parse(case.raw, check_validity=False)
    try:
        verify_input(coins, tx, case.index, _FOREIGN_FLAGS[flags])
    except ForeignError as error:
        return OTHER_NAMES.get(error.code.name, error.code.name)
    return "OK"


def queued(case: Case) -> bool:
    """Return groat's verdict where decisive signatures are verified at the end."""
    queue = CheckQueue()
    if groat(case, CONSENSUS, queue) != "OK":
        return False
    return all(check.verify() for check in queue.checks)
