"""The hook by which other parts of a node write their tables in the same commits as the ledger.

Before each commit the ledger passes the blocks connected and disconnected since the last one, and
writes the rows that the hook returns in the same transaction. It does not know what they mean.
"""

from typing import Protocol

from chain.ledger.db.batch import CommitRows, HookRows
from chain.ledger.db.node_state import Version
from chain.ledger.outcomes import ChainMove, PendingMove


class CommitHook(Protocol):
    """Called on the ledger's thread before each commit; it may read the ledger."""

    def before_commit(self, move: ChainMove, sequence: int) -> HookRows:
        """Return the rows to commit with the ledger's tip; `move` leads to it from the last call's.

        `sequence` is the commit's. This must not fail: the ledger closes on any error.
        """


class Commits:
    """The version of the last commit, and the hook for the next one."""

    def __init__(self) -> None:
        self.version = Version(b"", 0)  # of the last commit that `next` prepared
        self.moves = PendingMove()
        self._hook: CommitHook | None = None

    @property
    def has_hook(self) -> bool:
        """Whether there is a hook."""
        return self._hook is not None

    def set_hook(self, hook: CommitHook) -> None:
        """Call this hook from the next commit on."""
        self._hook = hook
        self.moves.is_wanted = True

    def next(self) -> CommitRows:
        """Return the last rows of the next commit; its blocks must all be connected."""
        self.version = self.version.next()
        sequence = self.version.sequence
        if self._hook is None:
            return CommitRows(sequence, None)
        return CommitRows(sequence, self._hook.before_commit(self.moves.take(), sequence))
