"""The chain and the mempool at one instant, as the handlers use them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from chain.consensus.coin import Coin
from chain.consensus.entry import BlockTreeEntry
from chain.ledger.db.engine import bytes_on_server
from chain.ledger.db.node_state import Version
from chain.ledger.reader import LedgerSnapshot, TxLocation
from chain.node.entry import PoolEntry
from chain.primitives.address import AddressPrefixes
from chain.primitives.block import Block, decode_block
from chain.primitives.numbers import Hash32, OutPoint
from chain.primitives.transaction import Transaction
from chain.service.api.access.budget import Reservation
from chain.service.api.block_sizes import BlockSizes
from chain.service.api.context import ApiContext
from chain.service.api.state.port import ON_THREAD, ChainView, HeaderLookup, ReadLimits, StatePort
from chain.service.api.state.version_header import note_version

# On the event loop statements end after five looks at the clock, of 20,000 of SQLite's steps each:
# by time, a busy machine would have most reads made twice.
LOOP_READ_S_MAX: Final = 0.0
LOOP_BYTES_MAX: Final = 32_000  # of data to decode and to render on the event loop
BLOCK_BYTES: Final = 1_000_000  # as much as a block may have: those are read on worker threads
LOOKUP_BYTES: Final = 1_000  # a look-up takes as long as decoding and rendering so many bytes


ON_LOOP: Final = ReadLimits(waits=False, read_s=LOOP_READ_S_MAX, bytes_max=LOOP_BYTES_MAX)


@dataclass(slots=True, unsafe_hash=True)
class FoundTx:
    """A transaction and its place."""

    tx: Final[Transaction]
    coins: Final[tuple[Coin | None, ...]]  # those it spends, in input order; empty for a coinbase
    block: Final[BlockTreeEntry | None]  # None: in the mempool
    position: Final[int] = 0  # in its block


@dataclass(frozen=True, slots=True)
class Spender:
    """The input that spends an output, and its transaction."""

    txid: Hash32
    vin: int
    block: BlockTreeEntry | None  # None: the spend is in the mempool


@dataclass(frozen=True, slots=True)
class NodeSnapshot:
    """The state at one instant; valid until its `with` block ends, on that thread only."""

    api: ApiContext
    view: ChainView
    ledger: LedgerSnapshot
    headers: HeaderLookup
    version: Version | None  # of the database; None: the view may be ahead of what is committed
    reserved: Reservation  # of the budget for large replies; counts all data read for clients

    @property
    def tip(self) -> BlockTreeEntry:
        """The best chain's last block."""
        return self.view.tip

    def disk_bytes(self) -> int:
        """Return the size of the ledger on this machine's disk, or on the database's server."""
        return self.api.host.disk_bytes() or self.ledger.query(bytes_on_server)

    @property
    def prefixes(self) -> AddressPrefixes:
        """What the network's addresses start with."""
        return self.api.params.address_prefixes

    @property
    def feerate_min(self) -> int:
        """The lowest feerate that the mempool accepts now, in grains per 1000 vB."""
        return self.api.state.feerate_min(self.view, self.api.clock())

    def best(self, height: int) -> BlockTreeEntry | None:
        """Return the best chain's block at `height`, or None above the tip."""
        return self.tip.ancestor(height) if 0 <= height <= self.tip.height else None

    def entry(self, block_id: Hash32) -> BlockTreeEntry | None:
        """Return a header of any branch."""
        return self.headers.get(block_id)

    def is_best(self, entry: BlockTreeEntry) -> bool:
        """Return whether a block is in the best chain."""
        return self.best(entry.height) == entry

    def depth(self, entry: BlockTreeEntry) -> int:
        """Return the number of blocks of the best chain above one of its blocks."""
        return self.tip.height - entry.height

    def find(self, txid: Hash32) -> FoundTx | None:
        """Return a transaction of the mempool or the best chain. Raises TooLargeHereError."""
        pool_entry = self.view.pool.get(txid)
        if pool_entry is not None:
            self.reserved.check(len(pool_entry.transaction.raw))
            return self.in_pool(pool_entry)
        located = self.ledger.find(txid)
        if located is None:
            return None
        self.reserved.check(located.size)
        return self.read([located])[0]

    def read(self, locations: Sequence[TxLocation]) -> list[FoundTx]:
        """Return the transactions at these locations, in their order."""
        return [
            FoundTx(one.transaction, one.coins, self.block_of(at), at.position)
            for at, one in zip(locations, self.ledger.read(locations), strict=True)
        ]

    def block_of(self, located: TxLocation) -> BlockTreeEntry:
        """Return the header of a location's block."""
        entry = self.best(located.height)
        if entry is None or entry.id != located.block_id:  # the view may be ahead
            entry = self.entry(located.block_id)
        assert entry is not None, "the tree has every block of the best chain"
        return entry

    def find_in(self, entry: BlockTreeEntry, txid: Hash32) -> FoundTx | None:
        """Return a transaction of one stored block, of any branch."""
        ids = self.block(entry).txids
        if txid not in ids:
            return None
        position = ids.index(txid)
        ((tx, coins),) = self.transactions(entry, position, 1)
        return FoundTx(tx, coins, entry, position)

    def history(
        self, script_hash: Hash32, before: tuple[int, int] | None, limit: int
    ) -> list[TxLocation]:
        """Return where the confirmed transactions of a script are, newest first, before `before`.

        They are to be read for a reply. Raises TooMuchInFlightError.
        """
        located = self.ledger.history(script_hash, before=before, limit=limit)
        self.reserved.take(sum([one.size for one in located]))
        return located

    def stored(self, block_id: Hash32) -> BlockTreeEntry | None:
        """Return the header of a stored block of any branch. Raises TooLargeHereError."""
        entry = self.entry(block_id)
        if entry is None or self.is_best(entry):
            return entry
        self.reserved.check(BLOCK_BYTES)
        return None if self.ledger.block(block_id) is None else entry

    def block_bytes(self, entry: BlockTreeEntry) -> bytes:
        """Return a stored block's bytes. Raises TooLargeHereError: on the event loop."""
        self.reserved.check(BLOCK_BYTES)
        raw = self.ledger.block(entry.id)
        assert raw is not None, "the caller found it stored in the same snapshot"
        return raw

    def block(self, entry: BlockTreeEntry) -> Block:
        """Return a stored block. Raises TooLargeHereError."""
        return decode_block(self.block_bytes(entry))

    def transactions(
        self, entry: BlockTreeEntry, start: int, count: int
    ) -> list[tuple[Transaction, tuple[Coin, ...]]]:
        """Return a page of a stored block, with the coins spent if it is in the best chain."""
        return self.ledger.transactions(entry.id, start, count)

    def facts(self, entry: BlockTreeEntry) -> BlockSizes:
        """Return the sizes of a stored block. Raises TooLargeHereError."""
        return self.api.block_sizes.get(entry.id, lambda: self.block(entry))

    def in_pool(self, pool_entry: PoolEntry) -> FoundTx:
        """Return a transaction of the mempool with the coins that it spends."""
        return FoundTx(pool_entry.transaction, pool_entry.coins, None)

    def output(self, point: OutPoint) -> Coin | None:
        """Return a coin of the mempool or an unspent one of the chain."""
        return self.view.pool.coin(point) or self.ledger.coin(point)

    def spent(self, point: OutPoint) -> Spender | None:
        """Return the spender of an output, in the mempool or the best chain."""
        pool_entry = self.view.pool.spender(point)
        if pool_entry is not None:
            vin = [txin.outpoint for txin in pool_entry.transaction.inputs].index(point)
            return Spender(pool_entry.txid, vin, None)
        spender = self.ledger.spender(point)
        if spender is None:
            return None
        return Spender(spender.txid, spender.vin, self.tip.ancestor(spender.height))


@contextmanager
def open_snapshot(
    api: ApiContext, limits: ReadLimits = ON_THREAD, state: StatePort | None = None
) -> Iterator[NodeSnapshot]:
    """Open a snapshot for reading, on a worker thread if the limits are those of one.

    It is of the API's state unless another is given.
    Raises SnapshotUnavailableError.
    """
    reservation = api.limits.budget.reservation(limits.bytes_max)
    with (state or api.state).snapshot(limits) as at, reservation as reserved:
        if at.version is not None:
            note_version(at.version)
        yield NodeSnapshot(api, at.view, at.ledger, at.headers, at.version, reserved)
