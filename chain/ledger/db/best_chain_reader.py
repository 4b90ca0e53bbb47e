"""The best chain as rows; each result is confirmed by the block's header and two tables."""

from typing import Final

from sqlalchemy import Connection

from chain.ledger.db.engine import read_rows
from chain.ledger.db.meta import read_tip
from chain.ledger.errors import DamagedError
from chain.primitives.hashes import sha256d
from chain.primitives.numbers import Hash32, Height

_AT: Final = (
    "SELECT c.id, h.height, h.raw FROM chain c JOIN headers h ON h.id = c.id WHERE c.height = ?"
)


class BestChain:
    """Heights and ids as of one snapshot. Every method may raise DamagedError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ids: dict[int, Hash32] = {}
        self.tip_id: Hash32 = read_tip(connection)  # the first read fixes the snapshot
        [(top,)] = read_rows(connection, "SELECT max(height) FROM chain", (), (int,))
        self.tip_height = Height(top)
        if self.id_at(top) != self.tip_id:
            raise DamagedError("the tip is not the best chain's last block")

    def id_at(self, height: int) -> Hash32 | None:
        """Return the id of the block at `height`, or None above the tip."""
        if not 0 <= height <= self.tip_height:
            return None
        if height not in self._ids:
            self._ids[height] = self._read(height)
        return self._ids[height]

    def height_of(self, block_id: Hash32) -> Height | None:
        """Return the height of a block of the best chain; None for any other."""
        for (height,) in self._heights("chain", block_id):
            if self.id_at(height) != block_id:
                raise _damaged(height)
            return Height(height)
        for (height,) in self._heights("headers", block_id):
            if self.id_at(height) == block_id:
                raise _damaged(height)
        return None

    def require(self, height: int) -> Hash32:
        """Return the id of the block at a height that an index refers to."""
        block_id = self.id_at(height)
        if block_id is None:
            raise DamagedError(f"an index names height {height}, which the best chain lacks")
        return block_id

    def _heights(self, table: str, block_id: Hash32) -> list[tuple[int]]:
        query = f"SELECT height FROM {table} WHERE id = ?"  # noqa: S608 - a name of ours
        return read_rows(self._connection, query, (block_id,), (int,))

    def _read(self, height: int) -> Hash32:
        rows = read_rows(self._connection, _AT, (height,), (bytes, int, bytes))
        for block_id, known_height, raw in rows:
            if (sha256d(raw), known_height) == (block_id, height):
                return Hash32(block_id)
        raise _damaged(height)


def _damaged(height: int) -> DamagedError:
    return DamagedError(f"the best chain is damaged at height {height}")
