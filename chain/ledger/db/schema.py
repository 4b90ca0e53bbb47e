"""The tables. Ids and scripts are raw bytes, ids in SHA-256's byte order; amounts are grains."""

import hashlib
from enum import IntEnum
from typing import Final

from sqlalchemy import ForeignKey, Integer, LargeBinary, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chain.consensus.transaction import BLOCK_WEIGHT_MAX
from chain.ledger.db.engine import BIGINT, WITHOUT_ROWID
from chain.primitives.transaction import WITNESS_SCALE

SCRIPT_KEY_BYTES: Final = 16  # of SHA-256: finding two scripts with the same key takes 2^64 work
POSITION_BITS: Final = 16  # of a transaction number; the rest is the block's height
_TRANSACTION_BYTES_MIN: Final = 60
_sha256 = hashlib.sha256  # bypasses attribute look-ups: three per transaction
assert BLOCK_WEIGHT_MAX // WITNESS_SCALE // _TRANSACTION_BYTES_MIN < 1 << POSITION_BITS, (
    "every transaction of a block has a number"
)


class HeaderStatus(IntEnum):
    """The state of a block."""

    HEADER = 0  # its header is valid
    STORED = 1  # its body is stored, and valid as far as can be checked without the coins
    INVALID = 2  # it or an ancestor broke a rule; its body is deleted


def script_key(script: bytes) -> bytes:
    """Return the key of `script` in the history."""
    return _sha256(script).digest()[:SCRIPT_KEY_BYTES]


def transaction_number(height: int, position: int) -> int:
    """Return the number of a transaction in the best chain; numbers ascend in chain order."""
    return height << POSITION_BITS | position


class Base(DeclarativeBase):
    """The tables' registry."""


class HeaderRow(Base):
    """Every header that was found valid, and the state of its block."""

    __tablename__ = "headers"
    number: Mapped[int] = mapped_column(BIGINT, primary_key=True, autoincrement=False)  # arrival
    id: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    raw: Mapped[bytes] = mapped_column(LargeBinary)  # 80 bytes
    height: Mapped[int] = mapped_column(BIGINT, index=True)
    work: Mapped[bytes] = mapped_column(LargeBinary)  # of its chain; 32 bytes, big-endian
    status: Mapped[int] = mapped_column(Integer)
    sequence: Mapped[int | None] = mapped_column(BIGINT)  # order in which chains became complete


class HeaderPageRow(Base):
    """Headers of the best chain far below the tip: see chain/ledger/header_columns.py."""

    __tablename__ = "header_pages"
    number: Mapped[int] = mapped_column(BIGINT, primary_key=True, autoincrement=False)
    raw: Mapped[bytes] = mapped_column(LargeBinary)
    work: Mapped[bytes] = mapped_column(LargeBinary)  # of the chain before; 32 bytes, big-endian
    checksum: Mapped[bytes] = mapped_column(LargeBinary)  # SHA-256 of all the others


class BlockRow(Base):
    """Bodies, header included."""

    __tablename__ = "blocks"
    id: Mapped[bytes] = mapped_column(LargeBinary, ForeignKey("headers.id"), primary_key=True)
    raw: Mapped[bytes] = mapped_column(LargeBinary)
    checksum: Mapped[bytes] = mapped_column(LargeBinary)  # SHA-256 of raw


class UndoRow(Base):
    """The coins that a block of the best chain spent."""

    __tablename__ = "undo"
    id: Mapped[bytes] = mapped_column(LargeBinary, ForeignKey("headers.id"), primary_key=True)
    raw: Mapped[bytes] = mapped_column(LargeBinary)
    checksum: Mapped[bytes] = mapped_column(LargeBinary)  # SHA-256 of id and raw


class ChainRow(Base):
    """The best chain."""

    __tablename__ = "chain"
    height: Mapped[int] = mapped_column(BIGINT, primary_key=True, autoincrement=False)
    id: Mapped[bytes] = mapped_column(LargeBinary, ForeignKey("headers.id"), unique=True)
    tx_count: Mapped[int | None] = mapped_column(BIGINT)  # number of its rows in `transactions`


class TransactionRow(Base):
    """The location of each transaction of the best chain."""

    __tablename__ = "transactions"
    number: Mapped[int] = mapped_column(BIGINT, primary_key=True, autoincrement=False)
    txid: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    start: Mapped[int] = mapped_column(Integer)  # offset in the raw block
    size: Mapped[int] = mapped_column(Integer)
    checksum: Mapped[bytes | None] = mapped_column(LargeBinary)  # of the wtxid; never NULL


class HistoryRow(Base):
    """Each spendable output of the best chain and each spend, by the output's script."""

    __tablename__ = "history"
    __table_args__ = WITHOUT_ROWID
    script: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)  # script_key
    number: Mapped[int] = mapped_column(BIGINT, primary_key=True)
    slot: Mapped[int] = mapped_column(BIGINT, primary_key=True)  # output * 2, or input * 2 + 1
    value: Mapped[int] = mapped_column(BIGINT)
    point: Mapped[bytes | None] = mapped_column(LargeBinary)  # of a spend: the coin it spent


class CoinRow(Base):
    """Unspent outputs of the best chain."""

    __tablename__ = "coins"
    __table_args__ = WITHOUT_ROWID
    point: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    value: Mapped[int] = mapped_column(BIGINT)
    script: Mapped[bytes] = mapped_column(LargeBinary)
    height: Mapped[int] = mapped_column(BIGINT)
    from_coinbase: Mapped[int] = mapped_column(Integer)


class DigestRow(Base):
    """Digests of the rows of an index: see chain/ledger/db/index/digests.py."""

    __tablename__ = "index_digests"
    kind: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    shelf: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    digests: Mapped[bytes] = mapped_column(LargeBinary)


class MetaRow(Base):
    """Facts about the whole ledger: see chain/ledger/db/meta.py."""

    __tablename__ = "meta"
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[bytes] = mapped_column(LargeBinary)


class PoolRow(Base):
    """The transactions of the mempool: see chain/ledger/db/pool_rows.py."""

    __tablename__ = "pool"
    number: Mapped[int] = mapped_column(BIGINT, primary_key=True, autoincrement=False)  # arrival
    wtxid: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    txid: Mapped[bytes] = mapped_column(LargeBinary)
    raw: Mapped[bytes] = mapped_column(LargeBinary)
    time: Mapped[int] = mapped_column(BIGINT)  # of arrival, unix seconds
    height: Mapped[int] = mapped_column(BIGINT)  # of the tip on arrival
    fee: Mapped[int] = mapped_column(BIGINT)


class DeltaRow(Base):
    """Fee deltas, also of transactions that are not in the mempool."""

    __tablename__ = "deltas"
    txid: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    grains: Mapped[int] = mapped_column(BIGINT)


class NodeStateRow(Base):
    """Small facts about the node, the version among them: see chain/ledger/db/node_state.py."""

    __tablename__ = "node_state"
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[bytes] = mapped_column(LargeBinary)


class JournalRow(Base):
    """What changed between two versions, for those that follow: see chain/node/journal.py."""

    __tablename__ = "journal"
    sequence: Mapped[int] = mapped_column(BIGINT, primary_key=True, autoincrement=False)
    time: Mapped[int] = mapped_column(BIGINT)  # unix seconds
    changes: Mapped[bytes] = mapped_column(LargeBinary)
