"""One transaction is read without the rest of its block, and what it spent without all undo data.

Undo data begins with a table of where each transaction's coins end, and their checksums: one pass
over it, some two seconds for 400,000 transactions. Transactions that are older than migration 0002
get the checksums that it left out: one pass over their blocks, some three seconds for 400,000.
"""

import hashlib
import struct
from collections.abc import Callable

from alembic import op

from chain.ledger.db.engine import read_keys, read_rows, write_rows
from chain.ledger.errors import DamagedError
from chain.primitives.block import decode_block
from chain.primitives.encoding import DecodeError, compact_size, read_bytes, read_compact_size
from chain.primitives.numbers import Hash32, id_text

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NEXT = "SELECT id, raw, checksum FROM undo WHERE id > ? ORDER BY id LIMIT 16"  # up to a MB each
UPDATE = "UPDATE undo SET raw = ?, checksum = ? WHERE id = ?"
OLD_HEIGHTS = "SELECT DISTINCT number / 65536 FROM transactions WHERE checksum IS NULL"
BLOCKS = (
    "SELECT c.height, b.id, b.raw, b.checksum FROM chain c JOIN blocks b ON b.id = c.id"
    " WHERE c.height IN"
)
BLOCKS_AT_ONCE = 16  # up to 4 MB each
ADD_CHECKSUM = "UPDATE transactions SET checksum = ? WHERE number = ?"
ENTRY = struct.Struct("<I8s")
FIXED_BYTES = 12  # of a coin, up to its script's size


def upgrade() -> None:
    _rewrite(_with_table)
    _add_checksums()


def downgrade() -> None:
    _rewrite(_without_table)


def _add_checksums() -> None:
    connection = op.get_bind()
    heights = [height for (height,) in read_rows(connection, OLD_HEIGHTS, (), (int,))]
    for start in range(0, len(heights), BLOCKS_AT_ONCE):
        some = heights[start : start + BLOCKS_AT_ONCE]
        rows: list[tuple[bytes, int]] = []
        for height, *block in read_keys(connection, BLOCKS, some, (int, bytes, bytes, bytes)):
            wtxids = _wtxids(*block)
            rows += [(wtxid[:8], height << 16 | at) for at, wtxid in enumerate(wtxids)]
        write_rows(connection, ADD_CHECKSUM, rows)


def _wtxids(block_id: bytes, raw: bytes, checksum: bytes) -> list[bytes]:
    name = id_text(Hash32(block_id))
    if hashlib.sha256(raw).digest() != checksum:
        raise DamagedError(f"block {name} is damaged")
    try:
        return [tx.wtxid for tx in decode_block(raw).transactions]
    except DecodeError as error:
        raise DamagedError(f"block {name} is damaged: {error}") from error


def _rewrite(change: Callable[[bytes, bytes], bytes]) -> None:
    connection = op.get_bind()
    last = b""
    while rows := read_rows(connection, NEXT, (last,), (bytes, bytes, bytes)):
        changed = []
        for block_id, raw, checksum in rows:
            new = _changed(block_id, raw, checksum, change)
            if new != raw:
                changed.append((new, _checksum(block_id, new), block_id))
        write_rows(connection, UPDATE, changed)
        last = rows[-1][0]


def _changed(
    block_id: bytes, raw: bytes, checksum: bytes, change: Callable[[bytes, bytes], bytes]
) -> bytes:
    name = id_text(Hash32(block_id))
    if _checksum(block_id, raw) != checksum:
        raise DamagedError(f"the undo data of block {name} is damaged")
    try:
        return change(block_id, raw)
    except DecodeError as error:
        raise DamagedError(f"the undo data of block {name} is damaged: {error}") from error


def _with_table(block_id: bytes, raw: bytes) -> bytes:
    count, start = read_compact_size(raw, 0)
    entries, at = [], start
    for index in range(count):
        end = _coins_end(raw, at)
        part = block_id + index.to_bytes(4, "little") + raw[at:end]
        entries.append(ENTRY.pack(end - start, hashlib.sha256(part).digest()[:8]))
        at = end
    return b"".join((compact_size(count), *entries, raw[start:]))


def _without_table(_block_id: bytes, raw: bytes) -> bytes:
    count, start = read_compact_size(raw, 0)
    return compact_size(count) + raw[start + count * ENTRY.size :]


def _coins_end(raw: bytes, at: int) -> int:
    """Return where the coins of the transaction at offset `at` end. Raises DecodeError."""
    coins, at = read_compact_size(raw, at)
    for _ in range(coins):
        size, at = read_compact_size(raw, at + FIXED_BYTES)
        _, at = read_bytes(raw, at, size)
    return at


def _checksum(block_id: bytes, raw: bytes) -> bytes:
    return hashlib.sha256(block_id + raw).digest()
