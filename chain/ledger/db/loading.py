"""Loads a ledger at start, with the checks that are cheap enough for each start."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import chain, islice
from typing import Any, Final

from sqlalchemy import Connection

from chain.consensus.block_validation import check_block
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError
from chain.consensus.genesis import genesis_block
from chain.consensus.params import Params
from chain.ledger.db.archive import read_block, read_undo, work_bytes
from chain.ledger.db.coins import COIN_TYPES, SELECT_ALL_COINS, CoinSet, coin_of_row
from chain.ledger.db.engine import read_keys, read_rows, stream_rows, write_rows
from chain.ledger.db.exclusion import read_excluded
from chain.ledger.db.header_pages import encode_work, make_pages, read_pages, write_pages
from chain.ledger.db.index.digests import check_digests
from chain.ledger.db.meta import (
    Meta,
    insert_meta,
    note_rules,
    read_coin_sums,
    read_meta,
    upgrade_identity,
)
from chain.ledger.db.records import block_checksum
from chain.ledger.db.schema import HeaderStatus
from chain.ledger.errors import DamagedError
from chain.ledger.header_columns import HeaderColumns, Page, pages_below
from chain.ledger.tree import HeaderTree
from chain.primitives.block import BITS, HEADER_BYTES, PREVIOUS, decode_block, decode_header
from chain.primitives.compact import work_from_bits
from chain.primitives.encoding import DecodeError
from chain.primitives.hashes import sha256d
from chain.primitives.numbers import Hash32, id_text

RECENT_BLOCKS: Final = 6  # bodies and undo data that are read at start (Bitcoin: -checkblocks)
COINS_AT_START_MAX: Final = 50_000  # more are summed in the background; 2 us each
COINS_IN_BACKGROUND_MAX: Final = 2_000_000  # more are summed by `groat check` only
HEADERS_AT_ONCE: Final = 2_000  # loaded before those deep below the best one go into columns

_HEADERS: Final = (
    "SELECT number, id, raw, height, work, status, coalesce(sequence, -1) FROM headers"
)
_HEADER_TYPES: Final = (int, bytes, bytes, int, bytes, int, int)
_INSERT_CHAIN: Final = "INSERT INTO chain (height, id, tx_count) VALUES (?, ?, ?)"
_STATUSES: Final = frozenset(HeaderStatus)


@dataclass(slots=True)
class LoadedState:
    """The state of a ledger in memory, as loaded."""

    tree: HeaderTree
    tip: BlockTreeEntry
    coins: CoinSet
    next_number: int
    next_sequence: int
    sums_coins_in_background: bool = False


@dataclass(slots=True)
class _Bodies:
    """Which bodies exist of blocks above the connected pages, according to the table of headers."""

    stored: set[Hash32] = field(default_factory=set)
    complete: set[Hash32] = field(default_factory=set)  # stored, with all ancestors stored
    sequenced: set[Hash32] = field(default_factory=set)  # they have a sequence

    def check(self, connection: Connection, tree: HeaderTree) -> None:
        """Check that this agrees with itself and with the table of bodies. Raises DamagedError."""
        in_table: set[Hash32] = set()
        if tree.connected:  # the other bodies are looked at, or counted, in the background
            held = list({entry.id for entry in tree.held()} | self.stored)
            rows = read_keys(connection, "SELECT id FROM blocks WHERE id IN", held, (bytes,))
            in_table.update(block_id for (block_id,) in rows)
        else:
            for rows in stream_rows(connection, "SELECT id FROM blocks", (bytes,)):
                in_table.update(block_id for (block_id,) in rows)
        for block_id in (self.stored ^ in_table) | (self.complete ^ self.sequenced):
            raise DamagedError(f"block {id_text(block_id)} is not stored as its header says")


def load(connection: Connection, params: Params, held_blocks: int) -> LoadedState:
    """Return the state of a ledger; initialise it if it is new.

    Headers in columns are read from their pages, and more than COINS_AT_START_MAX coins are not
    summed: a BackgroundCheck must follow. Raises WrongNetworkError, DamagedError.
    """
    meta = read_meta(connection, params)
    if meta is None:
        meta = _create(connection, params)
    elif upgrade_identity(connection, params):  # invalid blocks may be valid by the new rules
        statuses = (HeaderStatus.HEADER, HeaderStatus.INVALID)
        write_rows(connection, "UPDATE headers SET status = ? WHERE status = ?", [statuses])
    note_rules(connection, params)
    pages, connected = _load_pages(connection, meta.tip, held_blocks)
    loaded = _load_tree(connection, params, HeaderColumns(pages), connected, held_blocks)
    tip = loaded.tree.get(meta.tip)
    if tip is None:
        raise DamagedError(f"the tip {id_text(meta.tip)} is not among the headers")
    loaded.tip, loaded.coins = tip, meta.coins
    _check_chain(connection, loaded.tree, tip)
    known = map(loaded.tree.get, read_excluded(connection))  # None: forgotten as invalid
    loaded.tree.exclude([entry for entry in known if entry is not None])
    loaded.tree.bury_ahead()  # the best header was perhaps an excluded one until now
    _check_recent(connection, tip, params)
    check_digests(connection)
    if meta.coins.count <= COINS_AT_START_MAX:
        check_coins(connection)
    loaded.sums_coins_in_background = (
        COINS_AT_START_MAX < meta.coins.count <= COINS_IN_BACKGROUND_MAX
    )
    return loaded


def check_coins(connection: Connection, is_stopped: Callable[[], bool] = bool) -> None:
    """Check that the coins add up to the sums written with them. Raises DamagedError."""
    written = read_coin_sums(connection)
    if sum_coins(connection, is_stopped) != written and not is_stopped():
        raise DamagedError("the coins are not those that were written: run `groat check`")


def sum_coins(connection: Connection, is_stopped: Callable[[], bool] = bool) -> CoinSet:
    """Return the sums of the table of coins, or of only some rows if it is stopped.

    Raises DamagedError.
    """
    summed = CoinSet()
    for rows in stream_rows(connection, SELECT_ALL_COINS, COIN_TYPES):
        if is_stopped():
            break
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


def _load_pages(connection: Connection, tip: Hash32, held_blocks: int) -> tuple[list[Page], int]:
    """Return the pages of headers, and how many are of connected blocks.

    If some of those are missing, they are made and written.
    """
    pages, connected = read_pages(connection), 0
    query = "SELECT height FROM headers WHERE id = ?"
    for (height,) in read_rows(connection, query, (tip,), (int,)):
        connected = pages_below(height, held_blocks)
        missing = connected - len(pages)
        if missing > 0:  # written by an older groat
            first, before = len(pages), pages[-1] if pages else None
            made = list(make_pages(connection, before, first, missing))
            write_pages(connection, first, made)
            pages += made
    return pages, connected


def _load_tree(
    connection: Connection,
    params: Params,
    columns: HeaderColumns,
    connected_pages: int,
    held_blocks: int,
) -> LoadedState:
    genesis = BlockTreeEntry(genesis_block(params).header, None)
    if columns and columns.id_at(0) != genesis.id:
        raise DamagedError("the headers begin with another genesis block")
    tree = HeaderTree(genesis, columns, connected_pages, held_blocks=held_blocks)
    [(last,)] = read_rows(connection, "SELECT coalesce(max(number), 0) FROM headers", (), (int,))
    loaded = LoadedState(tree, genesis, CoinSet(), last + 1, 1)
    bodies = _Bodies()
    for row in _rows_of_blocks_ahead(connection, tree):
        _load_block_ahead(loaded, bodies, row)
    held = _held_rows(connection, columns)
    while rows := list(islice(held, HEADERS_AT_ONCE)):
        is_whole = len(rows) == HEADERS_AT_ONCE
        if not is_whole or not _load_run(loaded, rows):  # in a first sync, most have no block yet
            for row in rows:
                _load_header(loaded, bodies, row)
        if is_whole:
            tree.bury_upon_columns()  # other branches may be the best for a while
    tree.bury_ahead()
    if read_rows(connection, "SELECT count(*) FROM headers") != [(len(tree),)]:
        raise DamagedError("the headers are not those that were written: run `groat check`")
    bodies.check(connection, tree)
    return loaded


def _held_rows(connection: Connection, columns: HeaderColumns) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of the headers that are not in the columns, in order of arrival."""
    below = len(columns)
    shared = "SELECT height FROM headers WHERE height < ? GROUP BY height HAVING count(*) > 1"
    query = f"{_HEADERS} WHERE height < ? AND height IN ({shared}) ORDER BY +number"
    rows = chain.from_iterable(stream_rows(connection, query, _HEADER_TYPES, values=(below, below)))
    branches = (row for row in rows if row[3] < 0 or row[1] != columns.id_at(row[3]))
    order = "+number" if below else "number"  # + stops SQLite from scanning the whole table
    query = f"{_HEADERS} WHERE height >= {below:d} ORDER BY {order}"
    above = chain.from_iterable(stream_rows(connection, query, _HEADER_TYPES))
    first = next(branches, None)
    return above if first is None else merge(chain([first], branches), above)


def _rows_of_blocks_ahead(connection: Connection, tree: HeaderTree) -> list[tuple[Any, ...]]:
    """Return the rows of those headers in the columns ahead that are more than valid headers."""
    bounds = (tree.connected, len(tree.columns), HeaderStatus.HEADER)
    if bounds[0] == bounds[1]:
        return []
    # Few are. + stops SQLite from looking up each row by the index on the height.
    where = "+height >= ? AND +height < ? AND (status <> ? OR sequence IS NOT NULL)"
    rows = read_rows(connection, f"{_HEADERS} WHERE {where}", bounds, _HEADER_TYPES)
    return [row for row in rows if row[1] == tree.columns.id_at(row[3])]


def _load_block_ahead(loaded: LoadedState, bodies: _Bodies, row: tuple[Any, ...]) -> None:
    _, block_id, _, height, _, status, sequence = row
    if status != HeaderStatus.STORED:
        raise DamagedError(f"header {id_text(block_id)} is damaged")
    _note_body(loaded, bodies, loaded.tree.columns.entry(height), sequence)


def _note_body(loaded: LoadedState, bodies: _Bodies, entry: BlockTreeEntry, sequence: int) -> None:
    """Note that a body is stored; `sequence` is -1 if its chain is not complete."""
    loaded.next_sequence = max(loaded.next_sequence, sequence + 1)
    if sequence >= 0:
        bodies.sequenced.add(entry.id)
    bodies.stored.add(entry.id)
    if entry.height == 0:
        bodies.complete.add(entry.id)
    else:
        bodies.complete.update(one.id for one in loaded.tree.store(entry))


def _load_run(loaded: LoadedState, rows: Sequence[tuple[Any, ...]]) -> bool:
    """Load rows that are without blocks and each the child of the one before.

    That takes a third of the time, and of the memory. Returns False, with nothing done, if anything
    is otherwise or wrong.
    """
    tree = loaded.tree
    base = tree.get(Hash32(rows[0][2][PREVIOUS]))
    if base is None or tree.is_invalid(base.id):
        return False
    previous, work = base.id, base.chain_work
    for expected, (_, block_id, raw, height, known_work, status, sequence) in enumerate(
        rows, base.height + 1
    ):
        if (
            (height, status, sequence) != (expected, HeaderStatus.HEADER, -1)
            or len(raw) != HEADER_BYTES
            or raw[PREVIOUS] != previous
            or sha256d(raw) != block_id
        ):
            return False
        work += work_from_bits(int.from_bytes(raw[BITS], "little"))
        if known_work != encode_work(work):
            return False
        previous = block_id
    tree.add_run(base, b"".join(row[2] for row in rows))
    return True


def _load_header(loaded: LoadedState, bodies: _Bodies, row: tuple[Any, ...]) -> None:
    _, block_id, raw, height, work, status, sequence = row
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
        or (parent is not None and tree.is_invalid(parent.id) and status != HeaderStatus.INVALID)
    ):
        raise DamagedError(f"header {id_text(block_id)} is damaged")
    if height == 0:
        _note_body(loaded, bodies, entry, sequence)
        return
    if status == HeaderStatus.INVALID:
        tree.add_invalid(entry)
    else:
        tree.add(entry)
    if status == HeaderStatus.STORED:
        _note_body(loaded, bodies, entry, sequence)
    elif sequence >= 0:
        raise DamagedError(f"header {id_text(block_id)} is damaged")


def _check_chain(connection: Connection, tree: HeaderTree, tip: BlockTreeEntry) -> None:
    """Check that the table of the best chain has the tip and its ancestors, all of them stored.

    The table is read down to the last connected header of the columns.
    """
    lowest = max(tree.connected - 1, 0)
    entry: BlockTreeEntry | None = tip
    query = f"SELECT height, id FROM chain WHERE height >= {lowest:d} ORDER BY height DESC"  # noqa: S608 - a number
    for rows in stream_rows(connection, query, (int, bytes)):
        for height, block_id in rows:
            if (
                entry is None
                or (entry.height, entry.id) != (height, block_id)
                or not tree.is_stored(entry.id)
            ):
                raise DamagedError(f"the best chain is damaged at height {height}")
            entry = entry.parent
    if entry is not None and entry.height >= lowest:
        raise DamagedError(f"the best chain lacks height {entry.height}")
    if tree.connected and not tree.columns.entry(lowest).is_ancestor_of(tip):
        raise DamagedError("the pages of headers are of another chain")


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
