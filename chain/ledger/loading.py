"""Reading a ledger at start, with the checks that are cheap enough to make each time."""

import struct
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from chain.consensus.block import check_block
from chain.consensus.entry import Entry
from chain.consensus.errors import InvalidError
from chain.consensus.genesis import genesis_block
from chain.consensus.params import Params
from chain.ledger.archive import read_block, read_undo, work_bytes
from chain.ledger.coins import CoinSet, coin_of_row
from chain.ledger.engine import stream_rows, write_rows
from chain.ledger.errors import DamagedError
from chain.ledger.exclusion import read_excluded
from chain.ledger.meta import Meta, insert_meta, read_meta
from chain.ledger.records import block_checksum
from chain.ledger.schema import Status
from chain.ledger.tree import HeaderTree
from chain.primitives.block import decode_block, decode_header
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import id_text

RECENT_BLOCKS: Final = 6  # whose bodies and undo data are read at start (Bitcoin: -checkblocks)
START_COINS_MAX: Final = 2_000_000  # up to which the coins are summed at start, 2 us each

_COINS: Final = "SELECT point, value, script, height, from_coinbase FROM coins"


@dataclass(slots=True)
class Loaded:
    """A ledger's state in memory."""

    tree: HeaderTree
    tip: Entry
    coins: CoinSet
    next_number: int
    next_sequence: int


def load(connection: Connection, params: Params) -> Loaded:
    """Return the state of a ledger, which is made if it is new.

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
    known = map(loaded.tree.get, read_excluded(connection))  # one may be forgotten as invalid
    loaded.tree.exclude([entry for entry in known if entry is not None])
    _check_chain(connection, tip)
    _check_recent(connection, tip, params)
    if meta.coins.count <= START_COINS_MAX and sum_coins(connection) != meta.coins:
        raise DamagedError("the coins are not those that were written: run `groat check`")
    return loaded


def sum_coins(connection: Connection) -> CoinSet:
    """Return the sums of the table of coins, row by row. Raises DamagedError."""
    summed = CoinSet()
    try:
        for rows in stream_rows(connection, _COINS, (bytes, int, bytes, int, int)):
            summed = summed.after({}, dict(map(coin_of_row, rows)))
    except struct.error as error:
        raise DamagedError("a coin has a value or height that is none") from error
    return summed


def _create(connection: Connection, params: Params) -> Meta:
    genesis = genesis_block(params)
    entry = Entry(genesis.header, None)
    header = (0, entry.id, genesis.header.encode(), 0, work_bytes(entry), Status.STORED, 0)
    write_rows(connection, "INSERT INTO headers VALUES (?, ?, ?, ?, ?, ?, ?)", [header])
    body = (entry.id, genesis.raw, block_checksum(genesis.raw))
    write_rows(connection, "INSERT INTO blocks (id, raw, checksum) VALUES (?, ?, ?)", [body])
    write_rows(connection, "INSERT INTO chain (height, id) VALUES (?, ?)", [(0, entry.id)])
    meta = Meta(entry.id, CoinSet())  # genesis is never connected: it makes no coins
    insert_meta(connection, params, meta)
    return meta


def _load_tree(connection: Connection, params: Params) -> Loaded:
    genesis = Entry(genesis_block(params).header, None)
    tree = HeaderTree(genesis)
    loaded = Loaded(tree, genesis, CoinSet(), 1, 1)
    query = "SELECT number, id, raw, height, work, status, coalesce(sequence, -1)"
    query += " FROM headers ORDER BY number"
    for rows in stream_rows(connection, query, (int, bytes, bytes, int, bytes, int, int)):
        for row in rows:
            _load_header(loaded, row)
    return loaded


def _load_header(loaded: Loaded, row: tuple[Any, ...]) -> None:
    number, block_id, raw, height, work, status, sequence = row
    tree = loaded.tree
    try:
        header = decode_header(raw)
    except DecodeError as error:
        raise DamagedError(f"header {id_text(block_id)} is damaged") from error
    parent = tree.get(header.previous)
    entry = tree.genesis if height == 0 else Entry(header, parent)
    if (
        (parent is None) != (height == 0)
        or (entry.id, entry.height, work_bytes(entry)) != (block_id, height, work)
        or status not in set(Status)
    ):
        raise DamagedError(f"header {id_text(block_id)} is damaged")
    loaded.next_number = max(loaded.next_number, number + 1)
    loaded.next_sequence = max(loaded.next_sequence, sequence + 1)
    if height == 0:
        return
    if status == Status.INVALID:
        tree.add_invalid(entry)
        return
    tree.add(entry)
    if status == Status.STORED:
        tree.store(entry)


def _check_chain(connection: Connection, tip: Entry) -> None:
    """Check that the table of the best chain leads to the tip."""
    entry: Entry | None = tip
    for rows in stream_rows(
        connection, "SELECT height, id FROM chain ORDER BY height DESC", (int, bytes)
    ):
        for height, block_id in rows:
            if entry is None or (entry.height, entry.id) != (height, block_id):
                raise DamagedError(f"the best chain is damaged at height {height}")
            entry = entry.parent
    if entry is not None:
        raise DamagedError(f"the best chain lacks height {entry.height}")


def _check_recent(connection: Connection, tip: Entry, params: Params) -> None:
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
