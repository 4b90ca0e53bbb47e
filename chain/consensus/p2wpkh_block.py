"""Rules for a block whose payments all spend P2WPKH in its usual form, applied to columns.

The same rules as in block_validation, which applies them to one transaction after the other: here
each is a few passes over all payments of a block, in half of Python's time or less. Nothing is
refused here. Whatever breaks a rule or is unusual (a lock that could be closed, another hash type,
amounts of more than all coins in one block) is left to the other way, which gives the reason. So
each function is stricter than the rules that it stands for, and never more lenient.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, repeat
from operator import le, lt
from typing import Any, Final, overload

from chain.consensus.coin import Coin, CoinView
from chain.consensus.errors import InvalidError
from chain.consensus.params import Params
from chain.consensus.spend import SpendCheck, first_error, is_usual_p2wpkh
from chain.primitives.block import Block
from chain.primitives.block_tables import P2wpkhColumns
from chain.primitives.hashes import hash160
from chain.primitives.numbers import (
    NULL_OUTPOINT,
    Hash32,
    Height,
    OutPoint,
    outpoint,
    outpoint_txid,
)
from chain.primitives.script import is_unspendable
from chain.primitives.sighash import SIGHASH_ALL, p2wpkh_preimages
from chain.primitives.signature_batch import ECDSA_OF_PREIMAGE, Record, batch
from chain.primitives.transaction import (
    LOCK_TIME_THRESHOLD,
    SEQUENCE_LOCK_OFF,
    WITNESS_SCALE,
    Transaction,
)
from chain.script.machine import ITEM_BYTES_MAX


@dataclass(slots=True)
class PaymentEffects:
    """The effects of all payments of one block or several, if each of `checks` verifies."""

    spent: Final[list[tuple[Coin, ...]]]  # by payment, in input order
    removed: Final[dict[OutPoint, Coin]]  # coins from before the first block
    created: Final[dict[OutPoint, Coin]]  # coins that are not spent here
    fees_until: Final[list[int]]  # up to and with each payment
    sigops_cost: Final[int]
    checks: Final["P2wpkhChecks"]


@dataclass(slots=True)
class Places:
    """Where the payments of one block are, or of blocks that follow each other."""

    input_heights: Final[Iterable[Height]]  # one for each input
    output_heights: Final[Iterable[Height]]
    transaction: Final[Callable[[int], Transaction]]  # makes a payment, by its number


def has_right_form(columns: P2wpkhColumns, params: Params) -> bool:
    """Return whether all payments pass check_transaction, and no two spend the same coin.

    They are no larger than their block, whose size was checked.
    """
    return (
        _all_have_some(columns.input_ends)
        and _all_have_some(columns.output_ends)
        and min(columns.values) >= 0
        and sum(columns.values) <= params.amount_max
        and _are_distinct(columns.points)
        and NULL_OUTPOINT not in columns.points
    )


def are_final(columns: P2wpkhColumns, height: int) -> bool:
    """Return whether the lock time of all payments is over at `height`: see is_final."""
    return max(columns.lock_times) < min(height, LOCK_TIME_THRESHOLD)


def connect_payments(
    block: Block,
    height: Height,
    coins: CoinView,
    params: Params,
    verified: Container[Hash32],
) -> PaymentEffects | None:
    """Return the effects of the payments of a block at `height`, or None.

    The block passed check_block and check_block_context. `verified` is as in connect_block.
    """
    columns = block.p2wpkh_columns
    if columns is None:
        return None
    places = Places(
        repeat(height, len(columns.points)),
        repeat(height, len(columns.values)),
        lambda payment: block.transactions[payment + 1],
    )
    return spend_payments(columns, places, coins, params, verified)


def spend_payments(
    columns: P2wpkhColumns,
    places: Places,
    coins: CoinView,
    params: Params,
    verified: Container[Hash32],
) -> PaymentEffects | None:
    """Return the effects of payments of one block, or of blocks that follow each other, or None."""
    if not _are_distinct(columns.points):
        return None  # first: a payment may come twice, but from here on each txid is another
    if max(columns.versions) >= 2 and min(columns.sequences) < SEQUENCE_LOCK_OFF:
        return None  # BIP68
    created = _created_coins(columns, places.output_heights)
    spent = _find_coins(columns, coins, created)
    if spent is None or not _may_be_spent(spent, places.input_heights, params):
        return None
    fees_until = _fees_until(columns, spent)
    inputs = _unverified_inputs(columns, verified)
    checks = P2wpkhChecks(places.transaction, columns, spent, inputs)
    if fees_until is None or not checks.are_usual():
        return None
    removed = dict(zip(columns.points, spent, strict=True))
    for point in created.keys() & removed.keys():  # spent here
        del created[point], removed[point]
    sigops_cost = columns.sigops * WITNESS_SCALE + len(columns.points)  # one for each input
    by_payment = _by_payment(columns, spent)
    return PaymentEffects(by_payment, removed, created, fees_until, sigops_cost, checks)


class P2wpkhChecks(Sequence[SpendCheck]):
    """The signature checks of inputs of such payments; single ones are made when asked for."""

    def __init__(
        self,
        transaction_of: Callable[[int], Transaction],
        columns: P2wpkhColumns,
        coins: Sequence[Coin],
        inputs: Sequence[int],
    ) -> None:
        """`coins` are those of all inputs of payments, `inputs` the numbers of those to check.

        `transaction_of` returns a payment by its number.
        """
        self._transaction_of = transaction_of
        self._columns = columns
        self._coins = coins
        self._inputs = inputs

    def __len__(self) -> int:
        return len(self._inputs)

    @overload
    def __getitem__(self, index: int) -> SpendCheck: ...
    @overload
    def __getitem__(self, index: slice) -> "P2wpkhChecks": ...
    def __getitem__(self, index: "int | slice") -> "SpendCheck | P2wpkhChecks":
        if isinstance(index, slice):
            inputs = self._inputs[index]
            return P2wpkhChecks(self._transaction_of, self._columns, self._coins, inputs)
        number = self._inputs[index]
        [(key, signature, message, kind)] = self[index : index + 1 or None].records()
        payment = _payment_of(self._columns, number)
        first = self._columns.input_ends[payment - 1] if payment else 0
        coins = self._coins[first : self._columns.input_ends[payment]]
        transaction = self._transaction_of(payment)
        return SpendCheck(transaction, coins, number - first, key, signature, message, kind)

    def ends(self, input_ends: Iterable[int]) -> list[int]:
        """Return how many of the checks are of the inputs before each of these numbers."""
        return [bisect_left(self._inputs, end) for end in input_ends]

    def are_usual(self) -> bool:
        """Return whether each key is the one paid to, and each signature has SIGHASH_ALL."""
        keys, signatures = self._of_inputs(self._columns.keys, self._columns.signatures)
        if not all(signatures) or max(map(len, keys), default=0) > ITEM_BYTES_MAX:
            return False
        if {signature[-1] for signature in signatures} - {SIGHASH_ALL}:
            return False
        return list(map(hash160, keys)) == self._key_hashes()

    def records(self) -> list[Record]:
        """Return what `signature_batch.batch` takes."""
        columns = self._columns
        keys, signatures, points, sequences = self._of_inputs(
            columns.keys, columns.signatures, columns.points, columns.sequences
        )
        payments = self._payments()
        transactions = (columns.versions, *columns.bip143_hashes, columns.lock_times)
        (coins,) = self._of_inputs(self._coins)
        values = [coin.value for coin in coins]
        preimages = p2wpkh_preimages(
            [_taken(column, payments) for column in transactions],
            (points, self._key_hashes(), values, sequences),
        )
        signed = [signature[:-1] for signature in signatures]
        return list(zip(keys, signed, preimages, repeat(ECDSA_OF_PREIMAGE), strict=False))

    def _key_hashes(self) -> list[bytes]:
        (coins,) = self._of_inputs(self._coins)
        return [coin.script[2:] for coin in coins]

    def _payments(self) -> Sequence[int]:
        """Return the number of each input's payment."""
        if self._columns.has_one_input_each:
            return self._inputs
        return [_payment_of(self._columns, number) for number in self._inputs]

    def _of_inputs(self, *of_inputs: Sequence[Any]) -> Iterator[Sequence[Any]]:
        return (_taken(column, self._inputs) for column in of_inputs)


def spend_records(checks: Sequence[SpendCheck]) -> list[Record]:
    """Return what `signature_batch.batch` takes."""
    if isinstance(checks, P2wpkhChecks):
        return checks.records()
    return [(check.key, check.signature, check.message, check.kind) for check in checks]


def verify_now(checks: Sequence[SpendCheck]) -> InvalidError | None:
    """Return the error of the first spend that fails, or None, on this thread."""
    first = batch(spend_records(checks))()
    return None if first is None else first_error(checks[first:])


def _taken(column: Sequence[Any], numbers: Sequence[int]) -> Sequence[Any]:
    """Return these items of a column; fast for neighbours."""
    if isinstance(numbers, range):  # with steps of 1
        return column[numbers.start : numbers.stop]
    return [column[number] for number in numbers]


def _payment_of(columns: P2wpkhColumns, number: int) -> int:
    """Return the number of the payment that an input belongs to."""
    return bisect_right(columns.input_ends, number)


def _are_distinct(points: Sequence[OutPoint]) -> bool:
    return len(set(points)) == len(points)


def _all_have_some(ends: Sequence[int]) -> bool:
    return ends[0] > 0 and all(map(lt, ends, ends[1:]))


def _created_coins(columns: P2wpkhColumns, heights: Iterable[Height]) -> dict[OutPoint, Coin]:
    points, first, from_coinbase = [], 0, False
    for txid, end in zip(columns.txids, columns.output_ends, strict=True):
        points += [outpoint(txid, index) for index in range(end - first)]
        first = end
    coins = map(Coin, columns.values, columns.scripts, heights, repeat(from_coinbase))
    created = dict(zip(points, coins, strict=True))
    if not columns.are_all_p2wpkh:
        for point, script in zip(points, columns.scripts, strict=True):
            if is_unspendable(script):
                del created[point]
    return created


def _find_coins(
    columns: P2wpkhColumns, coins: CoinView, created: Mapping[OutPoint, Coin]
) -> list[Coin] | None:
    """Return the coins that the inputs, all of different coins, spend; None: one is missing."""
    points = columns.points
    own = created.keys() & points
    if own and not _are_in_order(columns, own):
        return None
    found = []
    for point in points:
        coin = created[point] if point in own else coins.get(point)
        if coin is None:
            return None  # at once: to look for a coin that is missing takes long
        found.append(coin)
    return found


def _are_in_order(columns: P2wpkhColumns, own: Container[OutPoint]) -> bool:
    """Return whether each coin that is created and spent in the block is created first."""
    numbers = {txid: number for number, txid in enumerate(columns.txids)}
    return all(
        numbers[outpoint_txid(point)] < _payment_of(columns, number)
        for number, point in enumerate(columns.points)
        if point in own
    )


def _may_be_spent(coins: Sequence[Coin], heights: Iterable[Height], params: Params) -> bool:
    """Return whether all coins are mature, their amounts small, and their scripts P2WPKH."""
    maturity, total = params.coinbase_maturity_blocks, 0
    for coin, height in zip(coins, heights, strict=True):
        if not is_usual_p2wpkh(coin.script):
            return False
        if coin.from_coinbase and height - coin.height < maturity:
            return False
        if coin.value < 0:
            return False
        total += coin.value
    return total <= params.amount_max


def _fees_until(columns: P2wpkhColumns, spent: Sequence[Coin]) -> list[int] | None:
    """Return the fees up to and with each payment, at most what they spend.

    None: one creates more.
    """
    spent_until = list(accumulate([coin.value for coin in spent]))
    created_until = list(accumulate(columns.values))
    fees_until = [
        spent_until[inputs - 1] - created_until[outputs - 1]
        for inputs, outputs in zip(columns.input_ends, columns.output_ends, strict=True)
    ]
    is_each_paid = fees_until[0] >= 0 and all(map(le, fees_until, fees_until[1:]))
    return fees_until if is_each_paid else None


def _unverified_inputs(columns: P2wpkhColumns, verified: Container[Hash32]) -> Sequence[int]:
    known = [wtxid in verified for wtxid in columns.wtxids]
    if not any(known):
        return range(len(columns.points))
    numbers = range(len(columns.points))
    return [number for number in numbers if not known[_payment_of(columns, number)]]


def _by_payment(columns: P2wpkhColumns, spent: Sequence[Coin]) -> list[tuple[Coin, ...]]:
    if columns.has_one_input_each:
        return list(zip(spent))
    starts = (0, *columns.input_ends)
    return [tuple(spent[first:end]) for first, end in zip(starts, columns.input_ends, strict=False)]
