"""The mempool: unconfirmed transactions, updated by transactions, blocks and time."""

from collections.abc import Iterable, Iterator, Reversible, Sized
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from chain.consensus.coin import Coin, CoinView
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError
from chain.consensus.params import Params
from chain.node.admission import AdmissionContext, Candidate, check_at, examine
from chain.node.deltas import Deltas
from chain.node.entry import UNCONFIRMED_HEIGHT, PoolEntry
from chain.node.eviction import EvictionQueue, RollingFeerate
from chain.node.packages import (
    Entries,
    ancestors,
    attach,
    check_package,
    descendants,
    detach,
    reprice,
)
from chain.node.policy import Policy, PolicyError
from chain.node.pool import Pool, PoolCoins
from chain.primitives.block import Block
from chain.primitives.numbers import Hash32, Height, outpoint_txid
from chain.primitives.transaction import Transaction

RETURNED_BYTES_MAX: Final = 20_000_000  # of a reorganisation (MAX_DISCONNECTED_TX_POOL_BYTES)
DROPPED_MAX: Final = 100_000  # txids of a reorganisation, 6.6 MB of the journal


class RemovalReason(StrEnum):
    """Why a transaction left the pool."""

    CONFIRMED = "confirmed"
    CONFLICT = "conflict"  # a block spent one of its coins, or an ancestor's
    REPLACED = "replaced"
    EVICTED = "evicted"  # the pool was full
    EXPIRED = "expired"
    REORGANISED = "reorganised"  # not valid on the new chain
    FAULTY = "faulty"  # it made a block template invalid: a bug of ours


@dataclass(frozen=True, slots=True)
class Removal:
    """A transaction that left the pool."""

    entry: PoolEntry
    reason: RemovalReason
    by: Hash32 | None = None  # its replacement, or what conflicts with it in a block


class Blocks(Reversible[Block], Sized, Protocol):
    """Blocks in some order; each access may read from disk."""


@dataclass(frozen=True, slots=True)
class Reorganisation:
    """The blocks that leave and enter the best chain, and the new tip."""

    disconnected: Blocks  # tip first
    connected: Blocks  # in chain order
    tip: BlockTreeEntry
    coins: CoinView  # the ledger's coins at the new tip
    is_verified: bool = True  # False: signatures in the disconnected blocks may be wrong

    @property
    def fork_height(self) -> Height:
        """The height of the last block that both chains share."""
        return Height(self.tip.height - len(self.connected))


class Reorganised(NamedTuple):
    """What a reorganisation did to the pool."""

    returned: list[PoolEntry]  # from disconnected blocks, in their order
    removed: list[Removal]
    # Txids of disconnected blocks that are neither confirmed nor returned; of the oldest blocks, if
    # they are more than DROPPED_MAX with those that are confirmed again.
    dropped: list[Hash32]


class Mempool:
    """Unconfirmed transactions that can all be in the next block; used by one thread.

    Other threads read `pool`: a new object for each tip, changed in place in between.
    """

    def __init__(self, params: Params, policy: Policy) -> None:
        self.pool = Pool()
        self.policy = policy
        self.deltas = Deltas()
        self._params = params
        self._queue = EvictionQueue()
        self._rolling = RollingFeerate(policy.incremental_feerate, policy.pool_bytes_max)

    @property
    def rolling(self) -> RollingFeerate:
        """The minimum feerate after evictions."""
        return self._rolling

    def feerate_min(self, now: int) -> int:
        """Return the lowest feerate accepted now, in grains per 1000 vB."""
        rolling = self._rolling.at(now, self.pool.usage_bytes)
        return max(rolling, self.policy.relay_feerate_min)

    def examine(
        self, transaction: Transaction, tip: BlockTreeEntry, coins: CoinView, now: int
    ) -> Candidate:
        """Check a transaction against the pool and the ledger's coins, as admission.examine."""
        return examine(transaction, self._admission_context(tip, coins, now))

    def add(self, candidate: Candidate, now: int) -> list[Removal]:
        """Add a candidate; return the removals, which may include itself if the pool is full."""
        by = candidate.entry.txid
        removed = self._remove(candidate.replaced, RemovalReason.REPLACED, by)
        self._attach(candidate.entry, candidate.ancestors)
        return removed + self._trim(now)

    def prioritise(self, txid: Hash32, grains: int) -> None:
        """Add to a transaction's fee delta, whether the transaction is in the pool or not.

        Raises DeltasFullError. Nothing is evicted: the size of the pool is unchanged.
        """
        delta = self.deltas.add(txid, grains)
        entry = self.pool.get(txid)
        if entry is not None:
            for changed in reprice(self.pool, entry, delta).values():
                self._queue.push(changed)

    def expire(self, now: int) -> list[Removal]:
        """Remove transactions older than the expiry time, with their descendants."""
        removed: list[Removal] = []
        while (entry := next(self.pool.oldest(), None)) is not None:
            if entry.time > now - self.policy.expiry_s:
                break
            removed += self._remove(descendants(self.pool, [entry]), RemovalReason.EXPIRED)
        return removed

    def drop(self, txid: Hash32) -> list[Removal]:
        """Remove a transaction that makes templates invalid, with its descendants."""
        entry = self.pool.get(txid)
        return (
            []
            if entry is None
            else self._remove(descendants(self.pool, [entry]), RemovalReason.FAULTY)
        )

    def connect(self, blocks: Blocks, tip: BlockTreeEntry, now: int) -> list[Removal]:
        """Update the pool for a tip that is `blocks` ahead."""
        self.pool = self.pool.copy()
        removed: list[Removal] = []
        if self.pool.count or len(self.deltas):  # neither in a first sync
            for height, block in enumerate(blocks, tip.height - len(blocks) + 1):
                removed += self._connect(block, Height(height))
        self._rolling.block_connected(now)
        return removed

    def reorganise(self, change: Reorganisation, now: int) -> Reorganised:
        """Update the pool for a tip on another branch.

        The pool is rebuilt: first the transactions of the old branch, in their order, then the
        previous pool, so that parents come before children.
        """
        before = self.pool
        self.pool, self._queue = Pool(), EvictionQueue()
        self._rolling.block_connected(now)
        returned, dropped = self._readmit_disconnected(change, now)
        reasons: dict[Hash32, RemovalReason] = {}
        for transaction in _transactions(change.connected):
            dropped.pop(transaction.txid, None)
            self.deltas.forget([transaction.txid])
            reasons.update(_removal_reasons(before, transaction))
        removed: list[Removal] = []
        for entry in before.entries():
            reason = reasons.get(entry.txid) or self._readmit(entry, change)
            if reason is not None:
                removed.append(Removal(entry, reason))
            if reason is RemovalReason.CONFLICT:
                self.deltas.forget([entry.txid])
        removed += self._trim(now)
        removed_txids = {removal.entry.txid for removal in removed}
        kept = [entry for entry in returned if entry.txid not in removed_txids]
        return Reorganised(kept, removed, list(dropped))

    def _admission_context(
        self, tip: BlockTreeEntry, coins: CoinView, now: int
    ) -> AdmissionContext:
        return AdmissionContext(
            pool=self.pool,
            coins=coins,
            tip=tip,
            params=self._params,
            policy=self.policy,
            pool_feerate_min=self._rolling.at(now, self.pool.usage_bytes),
            now=now,
            deltas=self.deltas,
        )

    def _attach(self, entry: PoolEntry, above: Entries) -> None:
        attach(self.pool, entry, above)
        for changed in (entry, *above.values()):
            self._queue.push(changed)

    def _remove(
        self, replaced: Entries, reason: RemovalReason, by: Hash32 | None = None
    ) -> list[Removal]:
        shrunk = detach(self.pool, replaced)
        for entry in replaced.values():
            self._queue.forget(entry)
        for entry in shrunk.values():
            self._queue.push(entry)
        return [Removal(entry, reason, by) for entry in replaced.values()]

    def _trim(self, now: int) -> list[Removal]:
        """Evict the packages with the lowest feerate until the pool fits (Bitcoin: TrimToSize)."""
        removed: list[Removal] = []
        while self.pool.usage_bytes > self.policy.pool_bytes_max:
            entry = self._queue.lowest(self.pool)
            self._rolling.evicted(entry.descendants, now, self.pool.usage_bytes)
            removed += self._remove(descendants(self.pool, [entry]), RemovalReason.EVICTED)
        return removed

    def _connect(self, block: Block, height: Height) -> list[Removal]:
        """Remove the transactions that a block confirms or conflicts with."""
        found = ((txid, self.pool.get(txid)) for txid in block.txids)
        confirmed = {txid: entry for txid, entry in found if entry is not None}
        removed = self._remove(confirmed, RemovalReason.CONFIRMED)
        self.deltas.forget(block.txids)
        for entry in confirmed.values():
            children = self.pool.children(entry.transaction) if entry.descendants.count > 1 else []
            for child in children:
                child.coins = _confirmed_coins(child, entry.txid, height)
        for transaction in block.transactions[1:] if self.pool.count else ():
            for txin in transaction.inputs:
                spender = self.pool.spender(txin.outpoint)
                if spender is not None:
                    replaced = descendants(self.pool, [spender])
                    removed += self._remove(replaced, RemovalReason.CONFLICT, transaction.txid)
                    self.deltas.forget([spender.txid])
        return removed

    def _readmit_disconnected(
        self, change: Reorganisation, now: int
    ) -> tuple[list[PoolEntry], dict[Hash32, None]]:
        """Readmit the old branch's transactions that are still allowed, whatever their fee.

        The others are dropped: the new branch contains them or conflicts with them, they are not
        final or spend an immature coin, they were never standard, or there is no room for them.
        Returns both, in order.
        """
        here = self._admission_context(change.tip, change.coins, now)
        at = replace(here, was_in_block=True, is_verified=change.is_verified)
        returned: list[PoolEntry] = []
        dropped: dict[Hash32, None] = {}
        size = 0
        for transaction in _transactions(reversed(change.disconnected)):
            size += len(transaction.raw)
            has_room = size <= RETURNED_BYTES_MAX
            if not has_room and len(dropped) >= DROPPED_MAX:
                break
            candidate = _examined(transaction, at) if has_room else None
            if candidate is None:
                if len(dropped) < DROPPED_MAX:
                    dropped[transaction.txid] = None
                continue
            self._attach(candidate.entry, candidate.ancestors)
            returned.append(candidate.entry)
        return returned, dropped

    def _readmit(self, entry: PoolEntry, change: Reorganisation) -> RemovalReason | None:
        """Readmit an entry of the previous pool, or return why not. Its signatures stay valid."""
        transaction = entry.transaction
        view = PoolCoins(self.pool, change.coins)
        found = [
            view.get(txin.outpoint) if coin.height > change.fork_height else coin
            for txin, coin in zip(transaction.inputs, entry.coins, strict=True)
        ]
        coins = tuple(coin for coin in found if coin is not None)
        if len(coins) < len(found):
            return RemovalReason.REORGANISED
        above = ancestors(self.pool, transaction)
        try:
            check_at(transaction, coins, change.tip, self._params)
            check_package(self.pool, entry, above, {}, self.policy)
        except (InvalidError, PolicyError):
            return RemovalReason.REORGANISED
        entry.coins = coins
        self._attach(entry, above)
        return None


def _examined(transaction: Transaction, at: AdmissionContext) -> Candidate | None:
    """Return what a transaction would be in the pool; None: it is not allowed there."""
    try:
        return examine(transaction, at)
    except (InvalidError, PolicyError):
        return None


def _transactions(blocks: Iterable[Block]) -> Iterable[Transaction]:
    """Yield the blocks' transactions in order, without coinbases."""
    for block in blocks:
        yield from block.transactions[1:]


def _removal_reasons(pool: Pool, confirmed: Transaction) -> Iterator[tuple[Hash32, RemovalReason]]:
    """Yield which entries a confirmed transaction is or conflicts with."""
    if pool.get(confirmed.txid) is not None:
        yield confirmed.txid, RemovalReason.CONFIRMED
        return
    for txin in confirmed.inputs:
        spender = pool.spender(txin.outpoint)
        if spender is not None:
            yield spender.txid, RemovalReason.CONFLICT


def _confirmed_coins(child: PoolEntry, txid: Hash32, height: Height) -> tuple[Coin, ...]:
    """Return a child's coins after its parent `txid` was confirmed."""
    return tuple(
        replace(coin, height=height)
        if coin.height == UNCONFIRMED_HEIGHT and outpoint_txid(txin.outpoint) == txid
        else coin
        for txin, coin in zip(child.transaction.inputs, child.coins, strict=True)
    )
