"""Headers for a process that only reads the database, brought up to date from one tip to the next.

The lower part of the best chain is in columns, as in a node (docs/decisions/0012). What is kept
here is named by its id, so it is never wrong: whether a header is still known, stored or in the
best chain is for the snapshot to say.
"""

import threading
from typing import Final

from sqlalchemy import Connection

from chain.consensus.entry import BlockTreeEntry
from chain.ledger.db.engine import read_rows
from chain.ledger.db.header_pages import read_pages
from chain.ledger.errors import DamagedError, UnavailableError
from chain.ledger.header_columns import PAGE_HEADERS, HeaderColumns, pages_below
from chain.ledger.header_store import HELD_BLOCKS
from chain.primitives.block import Header, decode_header
from chain.primitives.encoding import DecodeError
from chain.primitives.hashes import sha256d
from chain.primitives.numbers import Hash32, id_text

WALK_MAX: Final = 2 * HELD_BLOCKS  # headers read one after the other, each by the one above
ENTRIES_MAX: Final = 4 * HELD_BLOCKS  # beyond the columns; then only the best chain's are kept
_HEADER: Final = "SELECT raw FROM headers WHERE id = ?"


class FollowedHeaders:
    """The headers that were looked at; any thread may call it."""

    def __init__(self, genesis: BlockTreeEntry, *, held_blocks: int = HELD_BLOCKS) -> None:
        """Begin with `genesis`; `held_blocks` is smaller only in tests."""
        self._genesis = genesis
        self._held_blocks = held_blocks
        self._lock = threading.RLock()
        self._is_begun = False
        self._columns = HeaderColumns()
        self._entries: dict[Hash32, BlockTreeEntry] = {genesis.id: genesis}

    def __len__(self) -> int:
        """Return how many headers are kept."""
        return len(self._columns) + len(self._entries)

    def get(self, connection: Connection, block_id: Hash32) -> BlockTreeEntry | None:
        """Return the header with this id, None if it was never known.

        It may have been forgotten since. Raises DamagedError; UnavailableError: it is too far from
        all that is known, as during a first sync.
        """
        with self._lock:
            return self._known(block_id) or self._read(connection, block_id)

    def tip(self, connection: Connection, block_id: Hash32) -> BlockTreeEntry:
        """Return the header of the best chain's last block in the snapshot of `connection`.

        Raises DamagedError.
        """
        with self._lock:
            known = self._entries.get(block_id)
            if known is not None:
                return known
            if not self._is_begun:
                self._begin(connection)
            try:
                entry = self._tip(connection, block_id)
            except UnavailableError:  # many blocks came since the last call
                self._begin(connection)
                entry = self._tip(connection, block_id)
            last = self._columns.last
            if last is not None and not last.is_ancestor_of(entry):
                self._begin(connection)  # a reorganisation went below the columns
                entry = self._tip(connection, block_id)
            self._bury(connection, entry)
            return entry

    def _tip(self, connection: Connection, block_id: Hash32) -> BlockTreeEntry:
        entry = self.get(connection, block_id)
        if entry is None:
            raise DamagedError(f"the tip {id_text(block_id)} is not among the headers")
        return entry

    def _begin(self, connection: Connection) -> None:
        """Take the snapshot's pages of connected blocks, and forget everything else.

        Change nothing on failure.
        """
        [(height,)] = read_rows(connection, "SELECT max(height) FROM chain", (), (int,))
        end = pages_below(height, self._held_blocks)  # further ones may be of headers ahead
        columns = HeaderColumns(read_pages(connection, end=end))
        if columns and columns.id_at(0) != self._genesis.id:
            raise DamagedError("the headers begin with another genesis block")
        self._columns = columns
        self._entries = {} if columns else {self._genesis.id: self._genesis}
        self._is_begun = True

    def _known(self, block_id: Hash32) -> BlockTreeEntry | None:
        held = self._entries.get(block_id)
        if held is not None:
            return held
        height = self._columns.find(block_id)
        return None if height is None else self._columns.entry(height)

    def _read(self, connection: Connection, block_id: Hash32) -> BlockTreeEntry | None:
        """Read a header, and those below it down to one that is known."""
        headers: list[Header] = []
        parent: BlockTreeEntry | None = None
        while parent is None:
            wanted = headers[-1].previous if headers else block_id
            header = _read_header(connection, wanted)
            if header is None:
                if headers:
                    raise DamagedError(f"header {id_text(wanted)} is missing")
                return None
            headers.append(header)
            if len(headers) > WALK_MAX:
                raise UnavailableError(f"header {id_text(block_id)} is far ahead of the chain")
            parent = self._known(header.previous)
        for header in reversed(headers):
            parent = BlockTreeEntry(header, parent)
            self._entries[parent.id] = parent
        return parent

    def _bury(self, connection: Connection, tip: BlockTreeEntry) -> None:
        """Take what is deep below `tip` into the columns, and bound the rest."""
        if tip.height >= len(self._columns) + self._held_blocks + PAGE_HEADERS:
            pages = self._columns.pages
            end = pages_below(tip.height, self._held_blocks)
            for page in read_pages(connection, pages, end):
                self._columns.append(page)
            below = [e for e in self._entries.values() if e.height < len(self._columns)]
            for entry in below:
                if self._columns.id_at(entry.height) == entry.id:
                    entry.bury(self._columns)
                del self._entries[entry.id]
        if len(self._entries) > ENTRIES_MAX:
            self._entries = {
                e.id: e for e in self._entries.values() if e.is_ancestor_of(tip) or not e.height
            }


def _read_header(connection: Connection, block_id: Hash32) -> Header | None:
    for (raw,) in read_rows(connection, _HEADER, (block_id,), (bytes,)):
        try:
            if sha256d(raw) == block_id:
                return decode_header(raw)
        except DecodeError:
            pass  # it cannot be: the hash would be another
        raise DamagedError(f"header {id_text(block_id)} is damaged")
    return None
