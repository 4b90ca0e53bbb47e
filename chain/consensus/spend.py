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
from chain.primitives.numbers import Hash32
from chain.primitives.sighash import SignatureHasher
from chain.primitives.signature import is_strict_der, verify, verify_schnorr
from chain.primitives.signature_batch import Record
from chain.primitives.transaction import Transaction
from chain.script.checks import CheckQueue, DirectChecker
from chain.script.errors import ScriptVerifyError
from chain.script.flags import CONSENSUS
from chain.script.hashes import TransactionHashes
from chain.script.machine import ITEM_BYTES_MAX
from chain.script.number import as_bool
from chain.script.spend import verify_spend


class TransactionSpends:
    """The spends of one transaction."""

    __slots__ = ("_hasher", "_hashes", "coins", "transaction")

    def __init__(self, transaction: Transaction, coins: Sequence[Coin]) -> None:
        """Take the `coins` that the inputs spend, in their order."""
        self.transaction = transaction
        self.coins = coins
        self._hasher = SignatureHasher(transaction)
        self._hashes: TransactionHashes | None = None

    def checks(self) -> Iterator["SpendCheck"]:
        """Yield the signature checks on which the spends hang, in the inputs' order.

        The spends are right if and only if each check verifies. Raises InvalidError: SCRIPT, behind
        the checks of the inputs before.
        """
        for index, coin in enumerate(self.coins):
            check = self._p2wpkh_check(index, coin)
            if check is None:
                yield from self._checks_by_engine(index)
            else:
                yield check

    def verify(self, index: int) -> None:
        """Run the scripts of one input, signatures and all. Raises InvalidError: SCRIPT."""
        try:
            verify_spend(self._shared(), index, CONSENSUS, DirectChecker())
        except ScriptVerifyError as error:
            raise InvalidError(Reason.SCRIPT, error.error) from None

    def _p2wpkh_check(self, index: int, coin: Coin) -> "SpendCheck | None":
        """Return the check of a spend in P2WPKH's right form, or None: the engine has to say."""
        script, txin = coin.script, self.transaction.inputs[index]
        if len(script) != 22 or not script.startswith(b"\x00\x14"):
            return None
        if txin.script_sig or len(txin.witness) != 2:
            return None
        signature, key = txin.witness
        key_hash, der = script[2:], signature[:-1]
        if len(key) > ITEM_BYTES_MAX or hash160(key) != key_hash or not is_strict_der(der):
            return None
        if not as_bool(key_hash):
            return None
        digest = self._hasher.hash(index, key_hash, coin.value, signature[-1])
        return SpendCheck(self, index, key, der, digest)

    def _checks_by_engine(self, index: int) -> Iterator["SpendCheck"]:
        queue = CheckQueue()
        try:
            verify_spend(self._shared(), index, CONSENSUS, queue)
        except ScriptVerifyError:
            self.verify(index)  # has the last word: a signature before may be the reason
            return
        for check in queue.checks:
            yield SpendCheck(
                self, index, check.key, check.signature, check.digest, check.is_schnorr
            )

    def _shared(self) -> TransactionHashes:
        if self._hashes is None:
            self._hashes = TransactionHashes(self.transaction, self.coins, self._hasher)
        return self._hashes


@dataclass(slots=True, eq=False)
class SpendCheck:
    """One signature still to be verified, without which a spend fails."""

    spends: Final[TransactionSpends]
    index: Final[int]  # of the input
    key: Final[bytes]
    signature: Final[bytes]  # without the hash type
    digest: Final[Hash32]
    is_schnorr: Final[bool] = False

    @property
    def record(self) -> Record:
        """What `signature_batch.batch` takes."""
        return self.key, self.signature, self.digest, self.is_schnorr

    def is_right(self) -> bool:
        """Verify the signature."""
        check = verify_schnorr if self.is_schnorr else verify
        return check(self.key, self.signature, self.digest)


def spend_checks(transaction: Transaction, coins: Sequence[Coin]) -> Iterator[SpendCheck]:
    """Yield the signature checks on which the spends of `coins` hang; see TransactionSpends."""
    return TransactionSpends(transaction, coins).checks()


def verify_checks(checks: Iterable[SpendCheck]) -> None:
    """Verify each check, in order. Raises InvalidError: SCRIPT, as Bitcoin says of the spend.

    A wrong signature condemns nothing by itself: the spend is run again without a queue, and that
    run has the last word and the reason.
    """
    for check in checks:
        if not check.is_right():
            check.spends.verify(check.index)


def first_error(checks: Iterable[SpendCheck]) -> InvalidError | None:
    """Return what `verify_checks` raises, or None."""
    try:
        verify_checks(checks)
    except InvalidError as error:
        return error
    return None
