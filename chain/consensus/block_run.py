"""Rules for small blocks that follow each other, applied to the columns of all of them.

The same rules as in block_validation, which applies them to one block after the other. As in
p2wpkh_block, nothing is refused here: whatever breaks a rule or is unusual is left to the other
way, for the whole run. So each function is stricter than the rules that it stands for.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count, pairwise, repeat
from typing import Final

from chain.consensus import p2wpkh_block
from chain.consensus.block_validation import (
    BLOCK_SIGOPS_COST_MAX,
    COMMITMENT_PREFIX,
    witness_commitment_script,
)
from chain.consensus.coin import Coin
from chain.consensus.p2wpkh_block import P2wpkhChecks, PaymentEffects, Places
from chain.consensus.params import Params
from chain.consensus.subsidy import block_subsidy
from chain.consensus.transaction import BLOCK_WEIGHT_MAX, COINBASE_SCRIPT_BYTES
from chain.primitives.block import Block
from chain.primitives.numbers import Hash32, Height, OutPoint, outpoint, outpoint_txid
from chain.primitives.run_tables import CoinbaseRow, RunColumns, read_run
from chain.primitives.script import count_sigops, is_unspendable, push_number
from chain.primitives.transaction import WITNESS_SCALE, Transaction

_TRANSACTIONS_MAX: Final = 15  # of each block; others are no faster in a run
_BYTES_MAX: Final = 16_000
_WITNESS_NONCE_BYTES: Final = 32

FindCoins = Callable[[Sequence[OutPoint]], Mapping[OutPoint, Coin]]


@dataclass(slots=True)
class ConnectedRun:
    """The effects of connecting blocks, if each of `checks` verifies."""

    columns: Final[RunColumns]
    spent: Final[list[list[tuple[Coin, ...]]]]  # by block and payment, in input order
    removed: Final[dict[OutPoint, Coin]]  # coins from before the first block
    created: Final[dict[OutPoint, Coin]]  # coins that no block of the run spends
    checks: Final[P2wpkhChecks]
    check_ends: Final[list[int]]  # number of checks up to and with each block


def may_be_in_run(block: Block) -> bool:
    """Return whether a block is small, and was read into tables."""
    return (
        block.tables is not None
        and block.transaction_count <= _TRANSACTIONS_MAX
        and len(block.raw) <= _BYTES_MAX
    )


def connect_run(
    blocks: Sequence[Block],
    first: Height,
    find: FindCoins,
    params: Params,
    verified: Container[Hash32],
) -> ConnectedRun | None:
    """Return the effects of blocks from height `first` on, or None.

    Each block's header was checked, as a child of the block before. `find` returns coins of before
    the run. `verified` is as in connect_block.
    """
    columns = read_run([block.tables for block in blocks])
    if columns is None or not _are_right_without_coins(blocks, columns, first, params):
        return None
    payments = _Payments(blocks, columns.payment_ends)
    input_ends = _ends_in(columns.payments.input_ends, columns.payment_ends)
    output_ends = _ends_in(columns.payments.output_ends, columns.payment_ends)
    places = Places(_heights(input_ends, first), _heights(output_ends, first), payments)
    effects = _spend(columns, places, find, params, verified)
    if effects is None:
        return None
    sigops = max(map(_sigops, columns.coinbases)) * WITNESS_SCALE + effects.sigops_cost
    if sigops > BLOCK_SIGOPS_COST_MAX:  # no block has more
        return None
    if not _pay_at_most(columns, first, effects.fees_until, params):
        return None
    ends = columns.payment_ends
    return ConnectedRun(
        columns=columns,
        spent=[effects.spent[start:end] for start, end in pairwise((0, *ends))],
        removed=effects.removed,
        created=_coins_of_coinbases(columns, first) | effects.created,
        checks=effects.checks,
        check_ends=effects.checks.ends(input_ends),
    )


def _spend(
    columns: RunColumns,
    places: Places,
    find: FindCoins,
    params: Params,
    verified: Container[Hash32],
) -> PaymentEffects | None:
    payments = columns.payments
    if not payments.txids:
        return PaymentEffects([], {}, {}, [], 0, P2wpkhChecks(places.transaction, payments, (), ()))
    own = {*payments.txids, *[coinbase.txid for coinbase in columns.coinbases]}
    coins = find([point for point in payments.points if outpoint_txid(point) not in own])
    return p2wpkh_block.spend_payments(payments, places, coins, params, verified)


def _ends_in(ends: Sequence[int], of: Sequence[int]) -> list[int]:
    """Return where the first items of a column of ends, so many each time, end."""
    from_nothing = (0, *ends)
    return [from_nothing[number] for number in of]


def _are_right_without_coins(
    blocks: Sequence[Block], columns: RunColumns, first: Height, params: Params
) -> bool:
    """Return whether all blocks pass check_block_body and check_block_context."""
    payments = columns.payments
    return (
        all(map(_has_right_form, blocks, columns.coinbases, count(first)))
        and _have_right_outputs(columns.coinbases, params)
        and (
            not payments.txids
            or (
                p2wpkh_block.has_right_form(payments, params)
                and p2wpkh_block.are_final(payments, first)
            )
        )
    )


class _Payments:
    """The payments of blocks, by their numbers in the run."""

    def __init__(self, blocks: Sequence[Block], payment_ends: Sequence[int]) -> None:
        self._blocks = blocks
        self._payment_ends = payment_ends

    def __call__(self, payment: int) -> Transaction:
        """Return a payment."""
        before = 0
        for block, end in zip(self._blocks, self._payment_ends, strict=True):
            if payment < end:
                return block.transactions[payment - before + 1]
            before = end
        raise IndexError(payment)


def _has_right_form(block: Block, coinbase: CoinbaseRow, height: int) -> bool:
    """Return whether the rest of the block is right, if its payments and all amounts are.

    It is usual that a coinbase is not locked, and commits to witnesses.
    """
    root, is_mutated = block.merkle
    return (
        root == block.header.merkle_root
        and not is_mutated
        and len(block.raw) * WITNESS_SCALE <= BLOCK_WEIGHT_MAX
        and coinbase.lock_time == 0
        and len(coinbase.script_sig) in COINBASE_SCRIPT_BYTES
        and coinbase.script_sig.startswith(push_number(height))
        and len(coinbase.witness_item) == _WITNESS_NONCE_BYTES
        and _commitment(coinbase).startswith(
            witness_commitment_script(block.witness_root, coinbase.witness_item)
        )
    )


def _commitment(coinbase: CoinbaseRow) -> bytes:
    """Return the script of the last output that is a witness commitment; empty without any."""
    size = len(COMMITMENT_PREFIX) + 32
    for _, script, _ in reversed(coinbase.outputs):
        if len(script) >= size and script.startswith(COMMITMENT_PREFIX):
            return script
    return b""


def _have_right_outputs(coinbases: Sequence[CoinbaseRow], params: Params) -> bool:
    """Return whether the values in the coinbases, of which each has an output, are right."""
    values = [value for coinbase in coinbases for value, _, _ in coinbase.outputs]
    return min(values) >= 0 and sum(values) <= params.amount_max


def _sigops(coinbase: CoinbaseRow) -> int:
    return count_sigops(coinbase.script_sig) + sum(
        [count_sigops(script) for _, script, _ in coinbase.outputs]
    )


def _pay_at_most(
    columns: RunColumns, first: Height, fees_until: Sequence[int], params: Params
) -> bool:
    """Return whether each coinbase creates at most the subsidy and its block's fees."""
    before = 0
    fees = _ends_in(fees_until, columns.payment_ends)
    for height, (coinbase, until) in enumerate(zip(columns.coinbases, fees, strict=True), first):
        paid = sum([value for value, _, _ in coinbase.outputs])
        if paid > block_subsidy(Height(height), params) + until - before:
            return False
        before = until
    return True


def _coins_of_coinbases(columns: RunColumns, first: Height) -> dict[OutPoint, Coin]:
    return {
        outpoint(coinbase.txid, index): Coin(value, script, Height(height), from_coinbase=True)
        for height, coinbase in enumerate(columns.coinbases, first)
        for index, (value, script, _) in enumerate(coinbase.outputs)
        if not is_unspendable(script)
    }


def _heights(ends: Sequence[int], first: Height) -> Iterator[Height]:
    """Yield the height of each input or output of payments, which end at `ends` in each block."""
    return chain.from_iterable(
        repeat(Height(height), end - start)
        for height, (start, end) in enumerate(pairwise((0, *ends)), first)
    )
