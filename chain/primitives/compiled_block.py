"""All transactions of a block read and hashed in one call, without the GIL if it is large.

The compiled code walks the bytes of a block once and fills tables: where things are, ids, BIP143's
shared hashes, both Merkle roots. Python makes its objects from these. The code gives up at whatever
is malformed or rare, and `decode_block` reads such a block in Python, which says what is wrong with
it. So it has no errors of its own, and is never more lenient.
"""

import ctypes
import struct
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from chain.primitives.block_code import CODE
from chain.primitives.block_tables import INPUT, ITEM, OUTPUT, TRANSACTION, BlockTables
from chain.primitives.hashes import sha256
from chain.primitives.merkle import merkle_root
from chain.primitives.numbers import NULL_HASH, Amount, Hash32, OutPoint
from chain.primitives.sighash import SIGHASH_ALL, SignatureHasher
from chain.primitives.transaction import (
    SEQUENCE_FINAL,
    Transaction,
    TxIn,
    TxOut,
    read_transaction,
)

try:
    from chain.llvm.hashing import DECLARATIONS, compiled, host_features
except ImportError:  # no wheel of llvmlite for this platform
    _HAS_LLVM = False
else:
    _HAS_LLVM = True

BYTES_MAX: Final = 4_000_000  # of a block that is read here, as a valid one has at most
_INPUT_BYTES_MIN: Final = 41
_OUTPUT_BYTES_MEAN: Final = 16  # of a block's bytes; with more outputs, it is rare
_ITEM_BYTES_MEAN: Final = 8  # the same for witness items
_ROOT_BYTES: Final = 32
_SMALL_BYTES_MAX: Final = 16_000  # of a block whose tables are in memory that is used again
# A table in the compiled code: where its records are, how many there is room for, and are used.
_TABLE: Final = struct.Struct("<QQQ")
_USED: Final = struct.Struct("<16xQ16xQ16xQ16xQ")  # of the four tables with records

Allocate = Callable[[int], "bytearray | ctypes.Array[ctypes.c_char]"]


class _Room:
    """Memory for the tables of a block that is read, for its scratch, and for its two roots.

    Pages that stay empty cost nothing.
    """

    def __init__(self, size: int, count: int, allocate: Allocate) -> None:
        """Make room for a block of `size` bytes with `count` transactions."""
        rooms = (
            (TRANSACTION.size, count),
            (INPUT.size, size // _INPUT_BYTES_MIN),
            (OUTPUT.size, size // _OUTPUT_BYTES_MEAN),
            (ITEM.size, size // _ITEM_BYTES_MEAN),
        )
        buffers = [allocate(record * room) for record, room in rooms]
        self._sizes = [record for record, _ in rooms]
        self._records = [memoryview(buffer) for buffer in buffers]
        self._empty = b"".join(
            _TABLE.pack(_address(buffer), room, 0)
            for buffer, (_, room) in zip(buffers, rooms, strict=True)
        ) + _TABLE.pack(0, 0, 0)  # the last table is only a count
        self._tables = bytearray(self._empty)
        scratch = allocate(max(size, (count + 1) * _ROOT_BYTES))
        roots = allocate(2 * _ROOT_BYTES)
        self._roots = memoryview(roots)
        self.addresses = tuple(map(_address, (self._tables, scratch, roots)))
        self._scratch = scratch  # its address is used as long as this room

    def clear(self, count: int) -> None:
        """Empty all tables, for a block of `count` transactions."""
        self._tables[:] = self._empty
        used = count * TRANSACTION.size
        self._records[0][:used] = bytes(used)  # some hashes are not written for each

    def filled(self) -> list[bytes]:
        """Return the records of each table."""
        numbers = _USED.unpack_from(self._tables)
        sized = zip(self._records, self._sizes, numbers, strict=True)
        return [bytes(records[: size * used]) for records, size, used in sized]

    def roots(self) -> tuple[Hash32, Hash32]:
        """Return the Merkle roots of txids and of wtxids."""
        both = bytes(self._roots)
        return Hash32(both[:_ROOT_BYTES]), Hash32(both[_ROOT_BYTES:])


@dataclass(slots=True)
class BlockBody:
    """The transactions of a block, and their Merkle trees."""

    content: Final[BlockTables | tuple[Transaction, ...]]
    merkle: Final[tuple[Hash32, bool]]  # root, and whether the tree is mutated: see `merkle_root`
    witness_root: Final[Hash32]

    @property
    def transactions(self) -> tuple[Transaction, ...]:
        """The transactions."""
        content = self.content
        return content.all() if isinstance(content, BlockTables) else content


class CompiledReaderError(Exception):
    """Blocks cannot be read by compiled code on this machine."""


def read_body(data: bytes, at: int, count: int) -> BlockBody | None:
    """Return the `count` transactions (at least one) that fill `data` from offset `at` on.

    None: there is no compiled code, or it leaves these bytes to Python, as it does all malformed
    ones.
    """
    reader = _reader_or_none()
    return None if reader is None else reader.read(data, at, count)


def read_body_in_python(data: bytes, at: int, count: int) -> BlockBody:
    """Return the same without compiled code, for any bytes. Raises DecodeError."""
    transactions = []
    for _ in range(count):
        transaction, at = read_transaction(data, at)
        transactions.append(transaction)
    wtxids = [NULL_HASH, *[tx.wtxid for tx in transactions[1:]]]
    root = merkle_root([tx.txid for tx in transactions])
    return BlockBody(tuple(transactions), root, merkle_root(wtxids)[0])


def is_same(one: BlockBody, other: BlockBody) -> bool:
    """Return whether all that consensus asks of two blocks' transactions is the same."""
    described = [list(map(_description, body.transactions)) for body in (one, other)]
    roots = [(body.merkle, body.witness_root) for body in (one, other)]
    return described[0] == described[1] and roots[0] == roots[1]


def _description(transaction: Transaction) -> tuple[Any, ...]:
    signed = SignatureHasher(transaction).preimage(0, b"", Amount(0), SIGHASH_ALL)
    ids = transaction.txid, transaction.wtxid, transaction.raw
    parts = transaction.version, transaction.inputs, transaction.outputs, transaction.lock_time
    scripts = transaction.script_hashes or [sha256(out.script) for out in transaction.outputs]
    sizes = transaction.base_size, transaction.sigops
    return *ids, *parts, *sizes, transaction.outputs_raw, scripts, signed


class CompiledReader:
    """The compiled code; made once, used by any number of threads."""

    def __init__(self, features: Mapping[str, bool] | None = None) -> None:
        """Compile for this processor, or one with fewer features; takes some 20 ms.

        Raises CompiledReaderError, also if a test block reads otherwise than in Python.
        """
        if not _HAS_LLVM or sys.byteorder != "little":
            raise CompiledReaderError("llvmlite is missing, or the processor is big-endian")
        try:
            self._engine: Any = compiled(DECLARATIONS + CODE, features or host_features())
        except RuntimeError as error:
            raise CompiledReaderError(f"LLVM: {error}") from error
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        types = number, ctypes.c_char_p, number, number, number, pointer, pointer, pointer
        address = self._engine.get_function_address("read_block")
        self._read = ctypes.CFUNCTYPE(*types)(address)
        # A thread that gives up the GIL for 3 us may wait 5 ms until it has it again.
        self._read_with_gil = ctypes.PYFUNCTYPE(*types)(address)
        # For small blocks: to make a room takes longer than to read one. As many as threads use.
        self._free_rooms: list[_Room] = []
        for count, body in _test_bodies():
            here = self.read(body, 0, count)
            if here is None or not is_same(here, read_body_in_python(body, 0, count)):
                raise CompiledReaderError("a test block reads otherwise than in Python")

    def read(
        self, data: bytes, at: int, count: int, allocate: Allocate = bytearray
    ) -> BlockBody | None:
        """Return the transactions, or None: the bytes are malformed or rare. See `read_body`.

        The tables are in memory from `allocate`, of which pages that stay empty cost nothing.
        """
        size = len(data)
        if not 0 <= at <= size <= BYTES_MAX or not 0 < count <= size // _INPUT_BYTES_MIN:
            return None
        if size > _SMALL_BYTES_MAX or allocate is not bytearray:
            return _read_into(_Room(size, count, allocate), self._read, data, at, count)
        try:
            room = self._free_rooms.pop()
        except IndexError:
            room = _small_room()
        room.clear(count)
        body = _read_into(room, self._read_with_gil, data, at, count)
        self._free_rooms.append(room)
        return body


def _read_into(
    room: _Room, read: Callable[..., int], data: bytes, at: int, count: int
) -> BlockBody | None:
    mutated = read(data, len(data), at, count, *room.addresses)
    if mutated < 0:
        return None
    root, witness_root = room.roots()
    return BlockBody(BlockTables(data, *room.filled()), (root, bool(mutated)), witness_root)


def _small_room() -> _Room:
    return _Room(_SMALL_BYTES_MAX, _SMALL_BYTES_MAX // _INPUT_BYTES_MIN, bytearray)


def _address(buffer: "bytearray | ctypes.Array[ctypes.c_char]") -> int:
    """Return where a buffer begins; the caller holds it as long as the address is used."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def _test_bodies() -> list[tuple[int, bytes]]:
    """Return the numbers of transactions and the bytes of blocks with a bit of everything."""
    long_input = TxIn(OutPoint(bytes(range(36))), bytes(253), 7, (b"", bytes(300), b"\x01"))
    short_input = TxIn(OutPoint(bytes(range(1, 37))), b"", SEQUENCE_FINAL, (b"\x02" * 71,))
    bare_input = TxIn(OutPoint(bytes(range(2, 38))), b"\x51")
    p2wpkh = b"\x00\x14" + b"\xac" * 20  # only data, and not 20 signature operations
    scripts = (b"", p2wpkh, *(b"\xac" * size for size in (22, 252, 253)))
    outputs = [TxOut(Amount(5 * index - 6), script) for index, script in enumerate(scripts)]
    transactions = [
        Transaction(2, [short_input], outputs[1:3]),
        Transaction(1, [bare_input], outputs, 5),
        Transaction(0xFFFFFFFF, [bare_input, long_input, short_input], outputs[1:], 0xFFFFFFFF),
        Transaction(3, [long_input], []),
        Transaction(2, [short_input], outputs[1:2]),
    ]
    counts = (1, 2, 3, len(transactions))
    bodies = [(count, transactions[:count]) for count in counts]
    repeated = transactions[:3] + transactions[2:3]  # a mutated tree
    return [
        (count, b"".join([transaction.raw for transaction in each]))
        for count, each in (*bodies, (len(repeated), repeated))
    ]


def compile_reader() -> None:
    """Compile now what `read_body` would compile on its first call."""
    _reader_or_none()


@lru_cache(maxsize=1)
def _reader_or_none() -> CompiledReader | None:
    try:
        return CompiledReader()
    except CompiledReaderError as error:
        warnings.warn(f"blocks are read in Python: {error}", stacklevel=4)
        return None
