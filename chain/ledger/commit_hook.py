"""What other parts of a node keep in the ledger's database, committed together with the tip.

The ledger does not know what it is. Before each commit it says what was connected and disconnected
since the last one, and writes the rows that it gets in the same transaction.
"""

from typing import Protocol

from chain.ledger.db.commit_rows import CommitRows, RowsBeside
from chain.ledger.db.node_state import Version
from chain.ledger.outcomes import ChainMove, PendingMove


class CommitHook(Protocol):
    """Called on the ledger's thread before each commit; the ledger may be read meanwhile."""

    def before_commit(self, move: ChainMove, sequence: int) -> RowsBeside:
        """Return the rows for the ledger's tip, which is `move` ahead of the last call's.

        `sequence` is that of the commit. Nothing may refuse: the ledger closes on any error.
        """


class Commits:
    """The version of each commit, and the hook."""

    def __init__(self) -> None:
        self.version = Version(b"", 0)  # of the last commit that was prepared
        self.moves = PendingMove()
        self._hook: CommitHook | None = None

    @property
    def has_hook(self) -> bool:
        """Whether someone is told of each commit."""
        return self._hook is not None

    def set_hook(self, hook: CommitHook) -> None:
        """Call this hook from the next commit on."""
        self._hook = hook
        self.moves.is_wanted = True

    def next(self) -> CommitRows:
        """Return the last rows of the next commit; everything else is connected."""
        self.version = self.version.next()
        sequence = self.version.sequence
        if self._hook is None:
            return CommitRows(sequence, None)
        return CommitRows(sequence, self._hook.before_commit(self.moves.take(), sequence))
