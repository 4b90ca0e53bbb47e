"""The best chain: connecting blocks to its tip, and disconnecting them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

from chain.consensus.block_run import connect_run
from chain.consensus.block_validation import connect_block, created_coins
from chain.consensus.coin import Coin
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.params import Params
from chain.ledger.commit_hook import Commits
from chain.ledger.db.archive import Archive, read_undo
from chain.ledger.db.batch import Batch
from chain.ledger.db.coins import CoinSet, CoinStore
from chain.ledger.db.engine import write_rows
from chain.ledger.db.index.index_writer import IndexRows, NoIndexRows
from chain.ledger.errors import DamagedError
from chain.ledger.outcomes import ChainMove, RefusedError
from chain.ledger.signature_verifier import Verification, VerifiedSpends, Verifier
from chain.ledger.timing import BlockTimer, BlockTiming, Lap
from chain.ledger.writer import Writer
from chain.primitives.block import Block, decode_block
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32, OutPoint, id_text

BATCH_ROWS_MAX: Final = 250_000  # buffered in memory, about 300 bytes each
BATCH_BLOCKS_MAX: Final = 8_000  # so that small ones are written beside the following, too
BATCH_BYTES_MAX: Final = 64_000_000  # of buffered blocks and undo data

_DELETE: Final = "DELETE FROM chain WHERE height = ?"


class ChainTip:
    """Coins, undo data, indexes and tip, all at the same block; changes are buffered until `flush`.

    A block is checked completely before anything is changed, so a refused one has no effect.
    """

    def __init__(
        self,
        writer: Writer,
        params: Params,
        verifier: Verifier,
        archive: Archive,
        tip: BlockTreeEntry,
    ) -> None:
        self.tip = tip
        self.archive = archive
        self.verified = VerifiedSpends()
        self.coins = CoinStore(writer.read, CoinSet())
        self.timer = BlockTimer()
        self.commits = Commits()
        self._writer = writer
        self._connection = writer.connection
        self._params = params
        self._verifier = verifier
        self._new_rows = IndexRows
        self._rows = self._new_rows()
        self._heights: list[tuple[int, Hash32, int]] = []
        self._written_tip = tip

    def leave_out_indexes(self) -> None:
        """See Ledger.leave_out_indexes."""
        self._new_rows = NoIndexRows
        self._rows = self._new_rows()

    @property
    def is_large(self) -> bool:
        """Whether the buffer is so large that it should be written."""
        return (
            len(self._rows) + self.coins.buffered >= BATCH_ROWS_MAX
            or len(self._heights) >= BATCH_BLOCKS_MAX
            or self.archive.buffered_bytes >= BATCH_BYTES_MAX
        )

    def connect(
        self, block: Block, entry: BlockTreeEntry, *, deferred: bool = False
    ) -> Verification:
        """Make `block`, a child of the tip, the tip. Raises InvalidError as connect_block does.

        With `deferred`, its signatures are still being verified on return: the caller has to wait
        for the returned Verification, and to disconnect the block if it fails.
        """
        assert entry.parent == self.tip, "blocks connect to the tip"
        timing, lap = self.timer.of(entry.id), Lap()
        coins = _PrefetchedCoins(block, self.coins)
        connection = connect_block(block, self.tip, coins, self._params, self.verified)
        timing.connect_s += lap()
        verify = self._verifier.gather if deferred else self._verifier.start
        verification = verify(connection.checks)
        timing.verify_s += lap()
        rows = self._rows if deferred else self._new_rows()  # a refused block leaves no rows
        rows.add(block, entry.height, connection.spent)  # while the threads verify
        timing.connect_s += lap()
        if not deferred:
            verification.wait()
            timing.verify_s += lap()
            self._rows.extend(rows)
        self.coins.apply(connection.removed, connection.created)
        self.archive.add_undo(entry.id, connection.spent)
        self._heights.append((entry.height, entry.id, block.transaction_count))
        self.tip = entry
        block.release_columns()
        self.commits.moves.connected(block, partial(self.read, entry))
        timing.connect_s += lap()
        self.timer.connected(timing, entry)
        return verification

    def connect_run(
        self, blocks: Sequence[Block], entries: Sequence[BlockTreeEntry]
    ) -> list[tuple[Verification, BlockTiming]] | None:
        """Make small blocks the tip, one upon the other, as `connect` does with `deferred`.

        None: nothing was changed, and they have to be connected one by one.
        """
        assert entries[0].parent == self.tip, "blocks connect to the tip"
        lap, first = Lap(), entries[0].height
        run = connect_run(blocks, first, self.coins.find, self._params, self.verified)
        if run is None:
            return None
        connect_s = lap()
        verifications = self._verifier.start_run(run.checks, run.check_ends)
        verify_s = lap()
        self._rows.add_run(run, first)
        self.coins.apply(run.removed, run.created)
        for block, entry, spent in zip(blocks, entries, run.spent, strict=True):
            self.archive.add_undo(entry.id, spent)
            self._heights.append((entry.height, entry.id, block.transaction_count))
            self.commits.moves.connected(block, partial(self.read, entry))
        self.tip = entries[-1]
        timings = self.timer.connected_run(entries, connect_s + lap(), verify_s)
        return list(zip(verifications, timings, strict=True))

    def start_gathered_checks(self) -> None:
        """Start all signature checks: only then may another thread wait for them."""
        self._verifier.start_gathered()

    def disconnect(self) -> Block:
        """Make the tip's parent the tip; return the disconnected block.

        All changes must have been flushed, and no verification may be pending. Raises DamagedError.
        """
        entry = self.tip
        assert entry.parent is not None, "genesis stays"
        assert not self._heights, "the rows to delete are in the tables"
        block = self.read(entry)
        spent = read_undo(self._connection, entry.id)
        if spent is None:
            raise DamagedError(f"block {id_text(entry.id)} has no undo data")
        removed, restored = self._reversed_coins(block, entry, spent)
        self.coins.apply(removed, restored)
        self._new_rows.of(block, entry.height, spent).delete(self._connection)
        self.archive.delete_undo(entry.id)
        write_rows(self._connection, _DELETE, [(entry.height,)])
        self.tip = entry.parent
        block.release_columns()
        self.commits.moves.disconnected(block, partial(self.read, entry))
        self.verified.clear()
        return block

    def read(self, entry: BlockTreeEntry) -> Block:
        """Return a stored block. Raises DamagedError."""
        raw = self.archive.block(entry.id)
        if raw is None:
            raise DamagedError(f"block {id_text(entry.id)} is missing")
        try:
            return decode_block(raw)
        except DecodeError as error:
            raise DamagedError(f"block {id_text(entry.id)} is damaged: {error}") from error

    def take(self) -> Batch:
        """Return all buffered changes as one batch to be written."""
        heights, rows = self._heights, self._rows
        self._heights, self._rows = [], self._new_rows()
        summed, self._written_tip = self.coins.summed, self.tip
        return Batch(self.archive.take(), heights, rows, self.coins.take(), summed, self.tip.id)

    def flush(self) -> None:
        """Write all buffered changes in the open transaction, if there are any."""
        is_buffering = bool(self._heights) or self.coins.buffered > 0 or self.archive.is_buffering
        if is_buffering or self.tip != self._written_tip:  # index rows come with heights
            self.coins.written(self._writer.write(self.take()))

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Flush the changes made inside; on RefusedError, roll them back."""
        self.flush()
        tip, coins, moves = self.tip, self.coins.summed, self.commits.moves.saved()
        savepoint = self._connection.begin_nested()
        try:
            yield
            self.flush()
        except RefusedError:
            savepoint.rollback()
            self._revert(tip, coins, moves)
            raise
        savepoint.commit()

    def _revert(self, tip: BlockTreeEntry, coins: CoinSet, moves: ChainMove) -> None:
        """Discard the changes in memory after the database was rolled back to the last flush."""
        self.tip = self._written_tip = tip
        self.coins.revert(coins)
        self.commits.moves.restore(moves)
        self.archive.discard_buffered_undo()
        self._rows = self._new_rows()
        self._heights = []

    def _reversed_coins(
        self, block: Block, entry: BlockTreeEntry, spent: Sequence[Sequence[Coin]]
    ) -> tuple[dict[OutPoint, Coin], dict[OutPoint, Coin]]:
        """Return the coins that disappear and those that return when `block` is disconnected."""
        created = {p: c for tx in block.transactions for p, c in created_coins(tx, entry.height)}
        restored: dict[OutPoint, Coin] = {}
        for transaction, coins in zip(block.transactions[1:], spent, strict=True):
            for txin, coin in zip(transaction.inputs, coins, strict=True):
                restored[txin.outpoint] = coin
        removed = {point: coin for point, coin in created.items() if point not in restored}
        if self.coins.find(removed) != removed:
            raise DamagedError(f"coins of block {id_text(entry.id)} are missing or changed")
        return removed, {point: coin for point, coin in restored.items() if point not in created}


class _PrefetchedCoins:
    """A CoinView for one block: its coins are looked up in one go, others in the coin store.

    A coin that was missing then is not looked up again: thousands of queries would take a second.

    No coin of the coinbase is looked up, for none can exist. Its script begins with its height
    (BIP34, from block 1 on; check_block_context), and no height's encoding is the beginning of
    another one's: so coinbases of different heights differ, and genesis' creates no coin.
    """

    def __init__(self, block: Block, coins: CoinStore) -> None:
        points = _outpoints_of_earlier_blocks(block)
        self._found = coins.find(points)
        are_all_found = len(self._found) == len(points)
        self._missing = frozenset() if are_all_found else set(points) - self._found.keys()
        self._coins = coins
        self._coinbase_txid = block.coinbase.txid

    def get(self, point: OutPoint) -> Coin | None:
        coin = self._found.get(point)
        if coin is not None or point in self._missing or point.startswith(self._coinbase_txid):
            return coin
        return self._coins.get(point)


def _outpoints_of_earlier_blocks(block: Block) -> list[OutPoint]:
    """Return the outpoints that a block spends and does not create itself."""
    if block.transaction_count == 1:
        return []
    columns = block.p2wpkh_columns
    if columns is not None:
        txids = {block.coinbase.txid, *columns.txids}
        return [point for point in columns.points if point[:32] not in txids]
    own = set(block.txids)
    return [
        txin.outpoint
        for tx in block.transactions[1:]
        for txin in tx.inputs
        if txin.outpoint[:32] not in own
    ]
