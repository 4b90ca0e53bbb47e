"""A ledger with many empty blocks for bench_growth, written row by row."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from alembic import command
from sqlalchemy import Connection

from chain.consensus.coin import Coin
from chain.consensus.genesis import genesis_block
from chain.consensus.params import REGTEST, identity_before_scripts
from chain.ledger.db.coins import CoinSet
from chain.ledger.db.engine import open_engine, write_rows
from chain.ledger.db.index.index_writer import IndexRows
from chain.ledger.db.meta import Meta, update_meta
from chain.ledger.db.records import block_checksum, encode_spent, undo_checksum
from chain.ledger.ledger import Ledger
from chain.ledger.migrate import migrations
from chain.primitives.block import Block, Header
from chain.primitives.compact import work_from_bits
from chain.primitives.numbers import Height, outpoint

NextBlock = Callable[[Header, int], Block]

_BLOCKS_AT_ONCE: Final = 20_000
_TABLES: Final = {
    "headers": "INSERT INTO headers VALUES (?, ?, ?, ?, ?, ?, ?)",
    "blocks": "INSERT INTO blocks VALUES (?, ?, ?)",
    "undo": "INSERT INTO undo VALUES (?, ?, ?)",
    "chain": "INSERT INTO chain VALUES (?, ?, ?)",
    "coins": "INSERT INTO coins VALUES (?, ?, ?, ?, ?)",
}


def make(file: Path, count: int, next_block: NextBlock) -> None:
    """Make a ledger with `count` empty blocks upon genesis, each with one coin."""
    file.parent.mkdir(parents=True)
    with closing(Ledger(file, REGTEST, verify_threads=1)) as ledger:
        maker = _Maker(ledger._connection, next_block)
        for first in range(1, count + 1, _BLOCKS_AT_ONCE):
            maker.write(range(first, min(first + _BLOCKS_AT_ONCE, count + 1)))


class _Maker:
    """Writes the rows of blocks, without validating anything."""

    def __init__(self, connection: Connection, next_block: NextBlock) -> None:
        self._connection = connection
        self._next_block = next_block
        self._header = genesis_block(REGTEST).header
        self._work = work_from_bits(self._header.bits)
        self._coins = CoinSet()

    def write(self, heights: range) -> None:
        index = IndexRows()
        rows: dict[str, list[Any]] = {name: [] for name in _TABLES}
        for height in heights:
            block = self._next_block(self._header, height)
            self._header = block.header
            self._work += work_from_bits(block.header.bits)
            self._add(rows, block, height)
            index.extend(IndexRows.of(block, height, ()))
        with self._connection.begin():
            for name, statement in _TABLES.items():
                write_rows(self._connection, statement, rows[name])
            index.insert(self._connection)
            update_meta(self._connection, Meta(self._header.id, self._coins))

    def _add(self, rows: dict[str, list[Any]], block: Block, height: int) -> None:
        block_id, raw, undo = block.id, block.raw, encode_spent(block.id, ())
        work, paid = self._work.to_bytes(32, "big"), block.transactions[0]
        header = block.header.encode()
        rows["headers"].append((height, block_id, header, height, work, 1, height))
        rows["blocks"].append((block_id, raw, block_checksum(raw)))
        rows["undo"].append((block_id, undo, undo_checksum(block_id, undo)))
        rows["chain"].append((height, block_id, 1))
        point, value = outpoint(paid.txid, 0), paid.outputs[0].value
        rows["coins"].append((point, value, paid.outputs[0].script, height, 1))
        coin = Coin(value, paid.outputs[0].script, Height(height), from_coinbase=True)
        self._coins = self._coins.after({}, {point: coin})


def downgrade(file: Path, code: Path) -> None:
    """Take a ledger's schema back to that of an older code."""
    schema = max(path.name[:4] for path in (code / "alembic" / "versions").glob("0*.py"))
    engine = open_engine(file)
    with engine.begin() as connection:
        config = migrations()
        config.attributes["connection"] = connection
        command.downgrade(config, schema)
        if schema < "0002":
            old = [(identity_before_scripts(REGTEST),)]
            write_rows(connection, "UPDATE meta SET value = ? WHERE name = 'identity'", old)
    engine.dispose()
