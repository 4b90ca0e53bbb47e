"""Whether a transaction may enter the mempool: every check, the cheap ones first."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from chain.consensus.coin import Coin, CoinView
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.params import Params
from chain.consensus.transaction import (
    check_inputs,
    check_sequence_locks,
    check_transaction,
    is_final,
)
from chain.node.deltas import Deltas
from chain.node.entry import UNCONFIRMED_HEIGHT, PoolEntry
from chain.node.packages import Entries, ancestors, check_package
from chain.node.policy import (
    Policy,
    PolicyError,
    PolicyReason,
    check_standard,
    fee_at,
)
from chain.node.pool import Pool, PoolCoins
from chain.node.replacement import check_replacement, conflicts, entries_replaced_by
from chain.node.standard_spends import check_scripts, check_sigops_cost, check_standard_spends
from chain.primitives.numbers import Amount, Hash32, Height, outpoint, outpoint_txid
from chain.primitives.transaction import Transaction

MISSING_PARENTS_MAX: Final = 26  # one more than any package may have
OUTPUTS_CHECKED_MAX: Final = 4  # tells a confirmed transaction from one with missing coins
INPUTS_MAX: Final = 2440  # that fit in a standard transaction: 41 bytes, weight 164 each


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionContext:
    """The state that a transaction is checked against."""

    pool: Pool
    coins: CoinView  # the ledger's coins at the tip
    tip: BlockTreeEntry
    params: Params
    policy: Policy
    pool_feerate_min: int  # the rolling feerate now, in grains per 1000 vB
    now: int
    deltas: Deltas
    was_in_block: bool = False  # then the fee does not matter
    is_verified: bool = False  # its scripts were right in a block

    @property
    def height(self) -> Height:
        """The height of the next block."""
        return Height(self.tip.height + 1)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A transaction that may enter the mempool, and the effect of adding it."""

    entry: PoolEntry
    ancestors: Entries
    replaced: Entries  # the entries that it replaces, with all their descendants


def examine(transaction: Transaction, at: AdmissionContext) -> Candidate:
    """Run all checks for a transaction to enter the mempool; changes nothing.

    Raises PolicyError, or InvalidError if every node refuses it: COIN_MISSING, COIN_IMMATURE, and
    rules that the transaction breaks whatever blocks follow. Bitcoin: MemPoolAccept::PreChecks and
    after.
    """
    check_transaction(transaction, at.params)
    check_standard(transaction)
    _check_new(transaction, at.pool)
    coins = _find_coins(transaction, at)
    fee = check_at(transaction, coins, at.tip, at.params)
    check_standard_spends(transaction, coins)
    entry = PoolEntry(transaction, coins, fee, time=at.now, height=at.tip.height)
    check_sigops_cost(entry.sigops_cost)
    delta = at.deltas.get(entry.txid)
    if delta:
        entry.set_delta(delta)
    if not at.was_in_block:
        _check_fee(entry, at)
    candidate = _check_place(entry, at)
    check_scripts(transaction, coins, is_verified=at.is_verified)
    return candidate


def check_at(
    transaction: Transaction, coins: Sequence[Coin], tip: BlockTreeEntry, params: Params
) -> Amount:
    """Run the checks that depend on the tip, as for the next block, and return the fee.

    Raises PolicyError: NOT_FINAL, NOT_FINAL_BIP68; InvalidError as check_inputs.
    """
    height = Height(tip.height + 1)
    if not is_final(transaction, height, tip.median_time_past):
        raise PolicyError(PolicyReason.NOT_FINAL)
    there = [replace(c, height=height) if c.height == UNCONFIRMED_HEIGHT else c for c in coins]
    try:
        check_sequence_locks(transaction, there, tip)
    except InvalidError as error:
        raise PolicyError(PolicyReason.NOT_FINAL_BIP68) from error
    return check_inputs(transaction, there, height, params)


def missing_parents(transaction: Transaction, coins: CoinView) -> list[Hash32]:
    """Return the ids of the transactions whose outputs are missing, in input order, each once.

    At most MISSING_PARENTS_MAX: an orphan with more is not kept.
    """
    missing: dict[Hash32, None] = {}
    for txin in transaction.inputs:
        if len(missing) >= MISSING_PARENTS_MAX:
            break
        if coins.get(txin.outpoint) is None:
            missing[outpoint_txid(txin.outpoint)] = None
    return list(missing)


def _check_new(transaction: Transaction, pool: Pool) -> None:
    pooled = pool.get(transaction.txid)
    if pooled is None:
        return
    if pooled.wtxid == transaction.wtxid:
        raise PolicyError(PolicyReason.IN_POOL)
    raise PolicyError(PolicyReason.IN_POOL_OTHER_WITNESS)


def _find_coins(transaction: Transaction, at: AdmissionContext) -> tuple[Coin, ...]:
    """Return the coins that the inputs spend; stops at the first missing one."""
    view = PoolCoins(at.pool, at.coins)
    coins = []
    for txin in transaction.inputs:
        coin = view.get(txin.outpoint)
        if coin is None:
            raise _missing(transaction, at)
        coins.append(coin)
    return tuple(coins)


def _missing(transaction: Transaction, at: AdmissionContext) -> PolicyError | InvalidError:
    for index in range(min(len(transaction.outputs), OUTPUTS_CHECKED_MAX)):
        if at.coins.get(outpoint(transaction.txid, index)) is not None:
            return PolicyError(PolicyReason.KNOWN)
    return InvalidError(Reason.COIN_MISSING)


def _check_fee(entry: PoolEntry, at: AdmissionContext) -> None:
    """Raise PolicyError unless the fee reaches the relay minimum and the rolling feerate."""
    for rate, reason in (
        (at.pool_feerate_min, PolicyReason.FEE_BELOW_POOL),
        (at.policy.relay_feerate_min, PolicyReason.FEE_BELOW_RELAY),
    ):
        wanted = fee_at(rate, entry.vsize)
        if entry.modified_fee < wanted:
            raise PolicyError(reason, f"{entry.modified_fee} < {wanted}")


def _check_place(entry: PoolEntry, at: AdmissionContext) -> Candidate:
    """Check an entry against its conflicts and its unconfirmed ancestors."""
    pool, policy = at.pool, at.policy
    parents = pool.parents(entry.transaction)
    if len(parents) >= policy.package_count_max:  # before a search from thousands of inputs
        raise PolicyError(PolicyReason.PACKAGE, f"{len(parents)} unconfirmed parents")
    above = ancestors(pool, entry.transaction)
    direct = conflicts(pool, entry.transaction)
    replaced = entries_replaced_by(pool, direct, policy)
    if any(txid in replaced for txid in above):
        raise PolicyError(PolicyReason.SPENDS_CONFLICT)
    check_package(pool, entry, above, replaced, policy)
    if direct:
        check_replacement(pool, entry, direct, replaced, policy)
    return Candidate(entry, above, replaced)
