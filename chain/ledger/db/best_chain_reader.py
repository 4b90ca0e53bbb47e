"""The best chain as rows; each result is confirmed by the block's header and two tables."""

import struct
from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import Connection

from chain.ledger.db.engine import read_keys, read_rows
from chain.ledger.db.meta import read_tip
from chain.ledger.errors import DamagedError
from chain.primitives.hashes import sha256d
from chain.primitives.numbers import Hash32, Height

_read_time: Final = struct.Struct("<I").unpack_from
_TIME_AT: Final = 68  # its offset: after version, parent and Merkle root
_AT: Final = (
    "SELECT c.height, c.id, h.height, h.raw FROM chain c JOIN headers h ON h.id = c.id"
    " WHERE c.height IN"
)
_AT_TYPES: Final = (int, bytes, int, bytes)
# All that proves the tip in one statement; several say what is wrong if it does not.
_TOP: Final = (
    "SELECT m.value, c.height, c.id, h.height, h.raw FROM meta m, chain c"
    " JOIN headers h ON h.id = c.id"
    " WHERE m.name = 'tip' AND c.height = (SELECT max(height) FROM chain)"
)
_TOP_TYPES: Final = (bytes, *_AT_TYPES)


class BestChain:
    """Heights and ids as of one snapshot. Every method may raise DamagedError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ids: dict[int, Hash32] = {}
        self._times: dict[int, int] = {}
        self.tip_id: Hash32
        self.tip_height: Height
        for tip, *row in read_rows(connection, _TOP, (), _TOP_TYPES):  # fixes the snapshot
            self._keep(*row)
            self.tip_id, self.tip_height = Hash32(tip), Height(row[0])
            if self._ids.get(row[0]) == tip:
                return
        self._find_damage()

    def _find_damage(self) -> None:
        self.tip_id = read_tip(self._connection)
        [(top,)] = read_rows(self._connection, "SELECT max(height) FROM chain", (), (int,))
        self.tip_height = Height(top)
        if self.id_at(top) != self.tip_id:
            raise DamagedError("the tip is not the best chain's last block")

    def id_at(self, height: int) -> Hash32 | None:
        """Return the id of the block at `height`, or None above the tip."""
        return self.ids_at([height]).get(height)

    def ids_at(self, heights: Iterable[int]) -> dict[int, Hash32]:
        """Return the ids of the blocks at these heights, without heights above the tip."""
        wanted = {height for height in heights if 0 <= height <= self.tip_height}
        self._read(sorted(wanted - self._ids.keys()))
        return {height: self._ids[height] for height in wanted}

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

    def require(self, heights: Iterable[int]) -> dict[int, Hash32]:
        """Return the ids of the blocks at heights that an index refers to."""
        wanted = set(heights)
        found = self.ids_at(wanted)
        for height in wanted - found.keys():
            raise DamagedError(
                f"an index refers to height {height}, which the best chain does not have"
            )
        return found

    def time_at(self, height: int) -> int:
        """Return the time in the header at a height of which the id was returned or confirmed."""
        return self._times[height]

    def confirms(self, height: int, block_id: bytes, known_height: int, raw: bytes) -> bool:
        """Return whether a row of a block at `height` is right; `raw` are its header's bytes."""
        if height <= self.tip_height and height not in self._ids:
            self._keep(height, block_id, known_height, raw)
        return self._ids.get(height) == block_id

    def _heights(self, table: str, block_id: Hash32) -> list[tuple[int]]:
        query = f"SELECT height FROM {table} WHERE id = ?"  # noqa: S608 - a name of ours
        return read_rows(self._connection, query, (block_id,), (int,))

    def _read(self, heights: Sequence[int]) -> None:
        rows = read_keys(self._connection, _AT, heights, _AT_TYPES)
        for row in rows:
            self._keep(*row)
        for height in heights:
            if height not in self._ids:
                raise _damaged(height)

    def _keep(self, height: int, block_id: bytes, known_height: int, raw: bytes) -> None:
        if (sha256d(raw), known_height) == (block_id, height):
            self._ids[height] = Hash32(block_id)
            (self._times[height],) = _read_time(raw, _TIME_AT)


def _damaged(height: int) -> DamagedError:
    return DamagedError(f"the best chain is damaged at height {height}")
