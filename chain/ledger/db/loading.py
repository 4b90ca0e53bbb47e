"""Loading a ledger at start, with the checks that are cheap enough for every start."""

from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection

from chain.consensus.block_validation import check_block
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError
from chain.consensus.genesis import genesis_block
from chain.consensus.params import Params
from chain.ledger.db.archive import read_block, read_undo, work_bytes
from chain.ledger.db.coins import COIN_TYPES, SELECT_ALL_COINS, CoinSet, coin_of_row
from chain.ledger.db.digests import check_digests
from chain.ledger.db.engine import stream_rows, write_rows
from chain.ledger.db.exclusion import read_excluded
from chain.ledger.db.meta import Meta, insert_meta, read_meta
from chain.ledger.db.records import block_checksum
from chain.ledger.db.schema import HeaderStatus
from chain.ledger.errors import DamagedError
from chain.ledger.tree import HeaderTree
from chain.primitives.block import decode_block, decode_header
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32, id_text

RECENT_BLOCKS: Final = 6  # whose bodies and undo data are read at start (Bitcoin: -checkblocks)
START_COINS_MAX: Final = 2_000_000  # more coins than this are not summed at start; 2 us each

_INSERT_CHAIN: Final = "INSERT INTO chain (height, id, tx_count) VALUES (?, ?, ?)"
_STATUSES: Final = frozenset(HeaderStatus)


@dataclass(slots=True)
class LoadedState:
    """The state of a ledger in memory."""

    tree: HeaderTree
    tip: BlockTreeEntry
    coins: CoinSet
    next_number: int
    next_sequence: int


@dataclass(slots=True)
class _Bodies:
    """The state of the blocks' bodies according to the table of headers."""

    stored: set[Hash32] = field(default_factory=set)
    complete: set[Hash32] = field(default_factory=set)  # stored, with all ancestors stored
    numbered: set[Hash32] = field(default_factory=set)  # by the order in which they became complete

    def check(self, connection: Connection) -> None:
        """Check it for consistency, also with the table of bodies. Raises DamagedError."""
        there: set[Hash32] = set()
        for rows in stream_rows(connection, "SELECT id FROM blocks", (bytes,)):
            there.update(block_id for (block_id,) in rows)
        for block_id in (self.stored ^ there) | (self.complete ^ self.numbered):
            raise DamagedError(f"what is kept of block {id_text(block_id)} is not what was kept")


def load(connection: Connection, params: Params) -> LoadedState:
    """Return the state of a ledger, which is initialised if it is new.

    Raises WrongNetworkError, DamagedError.
    """
    meta = read_meta(connection, params)
    if meta is None:
        meta = _create(connection, params)
    loaded = _load_tree(connection, params)
    tip = loaded.tree.get(meta.tip)
    if tip is None:
        raise DamagedError(f"the tip {id_text(meta.tip)} is not among the headers")
    loaded.tip, loaded.coins = tip, meta.coins
    known = map(loaded.tree.get, read_excluded(connection))  # it may be forgotten as invalid
    loaded.tree.exclude([entry for entry in known if entry is not None])
    _check_chain(connection, loaded.tree, tip)
    _check_recent(connection, tip, params)
    check_digests(connection)
    if meta.coins.count <= START_COINS_MAX and sum_coins(connection) != meta.coins:
        raise DamagedError("the coins are not those that were written: run `groat check`")
    return loaded


def sum_coins(connection: Connection) -> CoinSet:
    """Return the sums of the table of coins, row by row. Raises DamagedError."""
    summed = CoinSet()
    for rows in stream_rows(connection, SELECT_ALL_COINS, COIN_TYPES):
        summed = summed.after({}, dict(map(coin_of_row, rows)))
    return summed


def _create(connection: Connection, params: Params) -> Meta:
    genesis = genesis_block(params)
    entry = BlockTreeEntry(genesis.header, None)
    header = (0, entry.id, genesis.header.encode(), 0, work_bytes(entry), HeaderStatus.STORED, 0)
    write_rows(connection, "INSERT INTO headers VALUES (?, ?, ?, ?, ?, ?, ?)", [header])
    body = (entry.id, genesis.raw, block_checksum(genesis.raw))
    write_rows(connection, "INSERT INTO blocks (id, raw, checksum) VALUES (?, ?, ?)", [body])
    write_rows(connection, _INSERT_CHAIN, [(0, entry.id, 0)])
    meta = Meta(entry.id, CoinSet())  # genesis is never connected, so it creates no coins
    insert_meta(connection, params, meta)
    return meta


def _load_tree(connection: Connection, params: Params) -> LoadedState:
    genesis = BlockTreeEntry(genesis_block(params).header, None)
    tree = HeaderTree(genesis)
    loaded = LoadedState(tree, genesis, CoinSet(), 1, 1)
    bodies = _Bodies()
    query = "SELECT number, id, raw, height, work, status, coalesce(sequence, -1)"
    query += " FROM headers ORDER BY number"
    for rows in stream_rows(connection, query, (int, bytes, bytes, int, bytes, int, int)):
        for row in rows:
            _load_header(loaded, bodies, row)
    bodies.check(connection)
    return loaded


def _load_header(loaded: LoadedState, bodies: _Bodies, row: tuple[Any, ...]) -> None:
    number, block_id, raw, height, work, status, sequence = row
    tree = loaded.tree
    try:
        header = decode_header(raw)
    except DecodeError as error:
        raise DamagedError(f"header {id_text(block_id)} is damaged") from error
    parent = tree.get(header.previous)
    if header.id != block_id:  # before its fields are used
        raise DamagedError(f"header {id_text(block_id)} is damaged")
    entry = tree.genesis if height == 0 else BlockTreeEntry(header, parent)
    if (
        (parent is None) != (height == 0)
        or (entry.id, entry.height, work_bytes(entry)) != (block_id, height, work)
        or status not in _STATUSES
    ):
        raise DamagedError(f"header {id_text(block_id)} is damaged")
    loaded.next_number = max(loaded.next_number, number + 1)
    loaded.next_sequence = max(loaded.next_sequence, sequence + 1)
    if sequence >= 0:
        bodies.numbered.add(entry.id)
    if height == 0:
        bodies.stored.add(entry.id)
        bodies.complete.add(entry.id)
        return
    if status == HeaderStatus.INVALID:
        tree.add_invalid(entry)
        return
    tree.add(entry)
    if status == HeaderStatus.STORED:
        bodies.stored.add(entry.id)
        bodies.complete.update(one.id for one in tree.store(entry))


def _check_chain(connection: Connection, tree: HeaderTree, tip: BlockTreeEntry) -> None:
    """Check that the table of the best chain leads to the tip, through stored blocks."""
    entry: BlockTreeEntry | None = tip
    for rows in stream_rows(
        connection, "SELECT height, id FROM chain ORDER BY height DESC", (int, bytes)
    ):
        for height, block_id in rows:
            if (
                entry is None
                or (entry.height, entry.id) != (height, block_id)
                or not tree.is_stored(entry.id)
            ):
                raise DamagedError(f"the best chain is damaged at height {height}")
            entry = entry.parent
    if entry is not None:
        raise DamagedError(f"the best chain lacks height {entry.height}")


def _check_recent(connection: Connection, tip: BlockTreeEntry, params: Params) -> None:
    entry = tip
    for _ in range(RECENT_BLOCKS):
        if entry.parent is None:
            return
        raw = read_block(connection, entry.id)
        if raw is None or read_undo(connection, entry.id) is None:
            raise DamagedError(f"block {id_text(entry.id)} or its undo data is missing")
        try:
            block = decode_block(raw)
            check_block(block, params)
        except (DecodeError, InvalidError) as error:
            raise DamagedError(f"block {id_text(entry.id)} is damaged: {error}") from error
        if block.id != entry.id:
            raise DamagedError(f"block {id_text(entry.id)} is another block")
        entry = entry.parent
