"""Whether a transaction's inputs may spend their coins, signatures left to be verified later.

Most inputs spend P2WPKH in its one right form, and are looked at here; anything else about any
input is for the script engine to say. No error is named here.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from chain.consensus.coin import Coin
from chain.consensus.errors import InvalidError, Reason
from chain.primitives.hashes import hash160
from chain.primitives.signature_batch import (
    ECDSA,
    ECDSA_OF_PREIMAGE,
    SCHNORR,
    Record,
    is_right,
)
from chain.primitives.transaction import Transaction
from chain.script.checks import CheckQueue, DirectChecker
from chain.script.errors import ScriptVerifyError
from chain.script.flags import CONSENSUS
from chain.script.hashes import SpentOutput, TransactionHashes
from chain.script.machine import ITEM_BYTES_MAX
from chain.script.spend import verify_spend

_ZEROS: Final = bytes(19)


@dataclass(slots=True, eq=False)
class SpendCheck:
    """One signature still to be verified, without which the spend of input `index` fails.

    It holds what a second run needs, but nothing that inputs share: a batch of blocks has many.
    """

    transaction: Final[Transaction]
    coins: Final[Sequence[SpentOutput]]  # that the inputs spend, in input order
    index: Final[int]
    key: Final[bytes]
    signature: Final[bytes]  # without the hash type
    message: Final[bytes]  # the digest, or what is hashed to it
    kind: Final[int] = ECDSA

    @property
    def record(self) -> Record:
        """What `signature_batch.batch` takes."""
        return self.key, self.signature, self.message, self.kind

    def is_right(self) -> bool:
        """Verify the signature."""
        return is_right(self.record)


def spend_checks(transaction: Transaction, coins: Sequence[Coin]) -> Iterator[SpendCheck]:
    """Yield the signature checks on which the spends of `coins` hang, in the inputs' order.

    The spends are right if and only if each check verifies. Raises InvalidError: SCRIPT, behind the
    checks of the inputs before.
    """
    hashes = TransactionHashes(transaction, coins)
    for index, coin in enumerate(coins):
        check = _p2wpkh_check(hashes, index, coin)
        if check is None:
            yield from _checks_by_engine(hashes, index)
        else:
            yield check


def verify_checks(checks: Iterable[SpendCheck]) -> None:
    """Verify each check, in order. Raises InvalidError: SCRIPT, as Bitcoin says of the spend.

    A wrong signature alone does not make a block invalid: the spend is run again without a queue,
    and that run decides and gives the reason.
    """
    for check in checks:
        if not check.is_right():
            verify_input(TransactionHashes(check.transaction, check.coins), check.index)


def first_error(checks: Iterable[SpendCheck]) -> InvalidError | None:
    """Return what `verify_checks` raises, or None."""
    try:
        verify_checks(checks)
    except InvalidError as error:
        return error
    return None


def verify_input(hashes: TransactionHashes, index: int) -> None:
    """Run the scripts of one input, signatures at once. Raises InvalidError: SCRIPT."""
    try:
        verify_spend(hashes, index, CONSENSUS, DirectChecker())
    except ScriptVerifyError as error:
        raise InvalidError(Reason.SCRIPT, error.error) from None


def is_usual_p2wpkh(script: bytes) -> bool:
    """Return whether `script` is P2WPKH and the engine would not read its key hash as false."""
    return len(script) == 22 and script.startswith(b"\x00\x14") and script[2:21] != _ZEROS


def _p2wpkh_check(hashes: TransactionHashes, index: int, coin: Coin) -> SpendCheck | None:
    """Return the check of a spend in P2WPKH's right form, or None: the engine has to say."""
    script, txin = coin.script, hashes.transaction.inputs[index]
    if not is_usual_p2wpkh(script):
        return None
    if txin.script_sig or len(txin.witness) != 2:
        return None
    signature, key = txin.witness
    key_hash = script[2:]
    if not signature or len(key) > ITEM_BYTES_MAX or hash160(key) != key_hash:
        return None
    preimage = hashes.p2wpkh_preimage(index, key_hash, coin.value, signature[-1])
    signed = key, signature[:-1], preimage, ECDSA_OF_PREIMAGE  # hashed where it is verified
    return SpendCheck(hashes.transaction, hashes.coins, index, *signed)


def _checks_by_engine(hashes: TransactionHashes, index: int) -> Iterator[SpendCheck]:
    queue = CheckQueue()
    try:
        verify_spend(hashes, index, CONSENSUS, queue)
    except ScriptVerifyError:
        verify_input(hashes, index)  # has the last word: a signature before may be the reason
        return
    transaction, coins = hashes.transaction, hashes.coins
    for queued in queue.checks:
        kind = SCHNORR if queued.is_schnorr else ECDSA
        signed = queued.key, queued.signature, queued.digest, kind
        yield SpendCheck(transaction, coins, index, *signed)
