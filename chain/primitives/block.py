"""Blocks: an 80-byte header, and the transactions that it commits to."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, overload

from chain.primitives.block_tables import BlockTables, P2wpkhColumns
from chain.primitives.encoding import DecodeError, compact_size, read_compact_size
from chain.primitives.hashes import sha256d
from chain.primitives.merkle import merkle_root
from chain.primitives.numbers import NULL_HASH, Hash32, counted
from chain.primitives.transaction import WITNESS_SCALE, Transaction, read_transaction

HEADER_BYTES: Final = 80
PREVIOUS: Final = slice(4, 36)  # in a header
BITS: Final = slice(72, 76)
_COLUMNS_MIN: Final = 16  # transactions; with fewer, columns take longer than objects
_LAYOUT: Final = struct.Struct("<i32s32sIII")
_COLUMNS: Final = struct.Struct("<i64xII4x")  # version, time and bits


@dataclass(slots=True, unsafe_hash=True)
class Header:
    """A block's header; hashes in SHA-256's byte order; only `version` is a signed integer.

    Final fields never change, as in a Transaction.
    """

    version: Final[int]
    previous: Final[Hash32]
    merkle_root: Final[Hash32]
    time: Final[int]  # seconds since 1970
    bits: Final[int]  # compact target
    nonce: Final[int]
    id: Hash32 = field(init=False, compare=False)

    def __post_init__(self) -> None:
        self.id = sha256d(self.encode())

    def encode(self) -> bytes:
        """Return the 80 bytes."""
        return _LAYOUT.pack(
            self.version, self.previous, self.merkle_root, self.time, self.bits, self.nonce
        )


def decode_header(data: bytes) -> Header:
    """Decode the 80 bytes of a header. Raises DecodeError: not 80 bytes."""
    if len(data) != HEADER_BYTES:
        raise DecodeError(f"a header has {HEADER_BYTES} bytes, not {len(data)}")
    return Header(*_LAYOUT.unpack(data))


class RawHeaders(Sequence[Header]):
    """Headers kept as their 80 bytes each; one is decoded whenever it is looked at."""

    __slots__ = ("_ids", "raw")

    def __init__(self, raw: bytes) -> None:
        """Take headers one behind the other. Raises DecodeError: not a multiple of 80 bytes."""
        if len(raw) % HEADER_BYTES:
            raise DecodeError(f"{len(raw)} bytes are not headers of {HEADER_BYTES} bytes each")
        self.raw: Final = raw
        self._ids: Sequence[Hash32] | None = None

    @classmethod
    def of(cls, headers: Sequence[Header]) -> "RawHeaders":
        """Return these headers as bytes."""
        return headers if isinstance(headers, cls) else cls(b"".join(encode_headers(headers)))

    @property
    def ids(self) -> Sequence[Hash32]:
        """The id of each header, hashed once."""
        if self._ids is None:
            self._ids = [sha256d(raw) for raw in self.encodings()]
        return self._ids

    @property
    def previous(self) -> Sequence[bytes]:
        """The id of each header's parent."""
        starts = range(0, len(self.raw), HEADER_BYTES)
        return [self.raw[at + PREVIOUS.start : at + PREVIOUS.stop] for at in starts]

    @property
    def is_chain(self) -> bool:
        """Whether each header is the child of the one before."""
        return self.previous[1:] == self.ids[:-1]

    def then(self, others: "RawHeaders") -> "RawHeaders":
        """Return these headers, and the others behind them."""
        both = RawHeaders(self.raw + others.raw)
        both._ids = [*self.ids, *others.ids]
        return both

    def columns(self) -> Iterator[tuple[int, int, int]]:
        """Yield version, time and bits of each header."""
        return _COLUMNS.iter_unpack(self.raw)

    def encodings(self) -> Iterator[bytes]:
        """Yield the 80 bytes of each header."""
        starts = range(0, len(self.raw), HEADER_BYTES)
        return (self.raw[at : at + HEADER_BYTES] for at in starts)

    def __len__(self) -> int:
        return len(self.raw) // HEADER_BYTES

    @overload
    def __getitem__(self, index: int) -> Header: ...
    @overload
    def __getitem__(self, index: slice) -> "RawHeaders": ...
    def __getitem__(self, index: int | slice) -> "Header | RawHeaders":
        places = range(len(self))[index]
        if not isinstance(places, range):
            return self._at(places)
        part = RawHeaders(b"".join(map(self._raw_at, places)))
        if self._ids is not None:
            part._ids = [self._ids[place] for place in places]
        return part

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, Sequence) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))

    def _at(self, place: int) -> Header:
        return decode_header(self._raw_at(place))

    def _raw_at(self, place: int) -> bytes:
        return self.raw[place * HEADER_BYTES : (place + 1) * HEADER_BYTES]


def encode_headers(headers: Sequence[Header]) -> Iterator[bytes]:
    """Yield the 80 bytes of each header."""
    if isinstance(headers, RawHeaders):
        return headers.encodings()
    return (header.encode() for header in headers)


class Block:
    """A block; immutable, so its bytes and Merkle root are computed once."""

    __slots__ = (
        "_base_size",
        "_coinbase",
        "_columns",
        "_may_have_columns",
        "_merkle",
        "_raw",
        "_tables",
        "_transactions",
        "_witness_root",
        "header",
        "id",
    )

    def __init__(self, header: Header, transactions: Sequence[Transaction] | BlockTables) -> None:
        """Take the transactions, or the tables from which they are made when asked for."""
        self.header = header
        self.id = header.id  # SHA-256d of the header
        self._tables: BlockTables | None = None
        self._transactions: tuple[Transaction, ...] | None = None
        if isinstance(transactions, BlockTables):
            self._tables = transactions
        else:
            self._transactions = tuple(transactions)
        self._coinbase: Transaction | None = None
        self._columns: P2wpkhColumns | None = None
        self._may_have_columns = True  # as far as is known
        self._raw: bytes | None = None
        self._base_size = 0
        self._merkle: tuple[Hash32, bool] | None = None
        self._witness_root: Hash32 | None = None

    @property
    def transactions(self) -> tuple[Transaction, ...]:
        """The transactions, the coinbase first."""
        tables, made = self._tables, self._transactions  # in this order, for other threads
        if made is None:
            assert tables is not None, "one of the two is there"
            made = self._transactions = tables.all()
            self._tables = None  # both would take twice the memory
        return made

    @property
    def transaction_count(self) -> int:
        """The number of transactions; faster than to ask for them."""
        tables = self._tables
        return len(self.transactions) if tables is None else tables.count

    @property
    def tables(self) -> BlockTables | None:
        """What compiled code made of it, until somebody asks for the transactions."""
        return self._tables

    @property
    def _long_tables(self) -> BlockTables | None:
        tables = self._tables
        return None if tables is None or tables.count < _COLUMNS_MIN else tables

    @property
    def txids(self) -> Sequence[Hash32]:
        """The ids of the transactions; faster than to ask for these."""
        tables = self._tables
        if tables is not None:
            return tables.txids()
        return [transaction.txid for transaction in self.transactions]

    @property
    def coinbase(self) -> Transaction:
        """The first transaction, which exists; faster than to ask for all of them."""
        if self._coinbase is None:
            tables = self._long_tables
            self._coinbase = self.transactions[0] if tables is None else tables.first()
        return self._coinbase

    @property
    def p2wpkh_columns(self) -> P2wpkhColumns | None:
        """The payments field by field; None if an input is unlike P2WPKH's.

        None, too, in small blocks, and once somebody asked for the transactions.
        """
        columns, tables = self._columns, self._long_tables
        if columns is None and tables is not None and self._may_have_columns:
            columns = self._columns = tables.p2wpkh_columns()
            self._may_have_columns = columns is not None
        return columns

    def release_columns(self) -> None:
        """Free the memory of the columns, which are made again if somebody asks for them."""
        self._columns = None

    @property
    def raw(self) -> bytes:
        """The wire bytes, witnesses included."""
        if self._raw is None:
            count = compact_size(self.transaction_count)
            self._raw = self.header.encode() + count + b"".join(tx.raw for tx in self.transactions)
        return self._raw

    @property
    def merkle(self) -> tuple[Hash32, bool]:
        """The Merkle root of the txids, and whether the tree is mutated: see `merkle_root`."""
        if self._merkle is None:
            self._merkle = merkle_root(self.txids)
        return self._merkle

    @property
    def witness_root(self) -> Hash32:
        """The Merkle root of the wtxids, with null for the coinbase's (BIP141)."""
        if self._witness_root is None:
            wtxids = [tx.wtxid for tx in self.transactions[1:]]
            self._witness_root = merkle_root([NULL_HASH, *wtxids])[0]
        return self._witness_root

    @property
    def base_size(self) -> int:
        """The size in bytes without witnesses."""
        if not self._base_size:
            count = len(compact_size(self.transaction_count))
            tables = self._tables
            own = (
                sum([tx.base_size for tx in self.transactions])
                if tables is None
                else tables.base_size()
            )
            self._base_size = HEADER_BYTES + count + own
        return self._base_size

    @property
    def weight(self) -> int:
        """Weight units (BIP141)."""
        return self.base_size * (WITNESS_SCALE - 1) + len(self.raw)


def decode_block(data: bytes) -> Block:
    """Decode a block. Raises DecodeError, also for trailing bytes."""
    header = decode_header(data[:HEADER_BYTES])
    count, at = read_compact_size(data, HEADER_BYTES)
    return _decode_compiled(header, data, at, count) or _decode_in_python(header, data, at, count)


def _decode_compiled(header: Header, data: bytes, at: int, count: int) -> Block | None:
    """Return the block of `count` transactions from offset `at` on, or None: it is for Python."""
    from chain.primitives.compiled_block import read_body  # noqa: PLC0415 - slow to import

    body = read_body(data, at, count)
    if body is None:
        return None
    block = Block(header, body.content)
    block._raw = data
    block._merkle, block._witness_root = body.merkle, body.witness_root
    return block


def _decode_in_python(header: Header, data: bytes, at: int, count: int) -> Block:
    transactions = []
    for _ in range(count):  # bounded by the data: each transaction takes 10 bytes or raises
        transaction, at = read_transaction(data, at)
        transactions.append(transaction)
    if at != len(data):
        raise DecodeError(f"{counted(len(data) - at, 'byte')} after the block")
    block = Block(header, transactions)
    block._raw = data
    return block
