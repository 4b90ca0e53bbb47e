"""What a wallet remembers between commands; losing it loses nothing that the chain does not know.

That is how far addresses were handed out, and payments sent that the node may not show yet.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32
from chain.primitives.transaction import Transaction, decode_transaction
from wallet.account import Branch
from wallet.derivation import HARDENED
from wallet.errors import FileError
from wallet.files import read_private, write_private

PENDING_AGE_S_MAX: Final = 600  # then the node's word counts: it may have dropped the payment
_VERSION: Final = 1
_FILE_BYTES_MAX: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Pending:
    """A payment sent at `time` (seconds since 1970)."""

    transaction: Transaction
    time: int


@dataclass(slots=True)
class State:
    """How many addresses of each branch were handed out, or seen used; payments on their way."""

    handed_out: dict[Branch, int] = field(default_factory=lambda: dict.fromkeys(Branch, 0))
    used: dict[Branch, int] = field(default_factory=lambda: dict.fromkeys(Branch, 0))
    pending: dict[Hash32, Pending] = field(default_factory=dict)

    def note_used(self, used: dict[Branch, int]) -> None:
        """Take over how many addresses the chain has seen used."""
        for branch, count in used.items():
            self.used[branch] = max(self.used[branch], count)

    def unused(self, branch: Branch) -> int:
        """Return the first index after all addresses that were used."""
        return self.used[branch]

    def fresh(self, branch: Branch) -> int:
        """Return the first index that was neither used nor handed out."""
        return max(self.used[branch], self.handed_out[branch])

    def hand_out(self, branch: Branch, index: int) -> None:
        """Remember that an address was shown or used for change."""
        self.handed_out[branch] = max(self.handed_out[branch], index + 1)

    def expire(self, now: int) -> None:
        """Forget payments that the node had time enough to show."""
        for txid, pending in list(self.pending.items()):
            if abs(now - pending.time) > PENDING_AGE_S_MAX:
                del self.pending[txid]


def load_state(path: Path) -> State:
    """Return the state kept at `path`, a new one if there is none.

    Raises FileError: others may read it; or unreadable (deleting it is safe, and it says so).
    """
    try:
        table = json.loads(read_private(path, _FILE_BYTES_MAX))
        if table["version"] != _VERSION:
            raise FileError(f"{path} was written by a later groat")
        return _from_table(table)
    except FileNotFoundError:
        return State()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, DecodeError):
        raise FileError(f"{path} is damaged; it can be deleted, the keys are not in it") from None


def save_state(path: Path, state: State) -> None:
    """Keep the state at `path`, durably."""
    table = {
        "version": _VERSION,
        "handed_out": [state.handed_out[branch] for branch in Branch],
        "used": [state.used[branch] for branch in Branch],
        "pending": [[p.time, p.transaction.raw.hex()] for p in state.pending.values()],
    }
    write_private(path, json.dumps(table).encode() + b"\n")


def _from_table(table: dict[str, Any]) -> State:
    pending = {}
    for time, raw in table["pending"]:
        transaction = decode_transaction(bytes.fromhex(raw))
        pending[transaction.txid] = Pending(transaction, int(time))
    return State(_counts(table["handed_out"]), _counts(table["used"]), pending)


def _counts(listed: list[int]) -> dict[Branch, int]:
    counts = dict(zip(Branch, map(int, listed), strict=True))
    if not all(0 <= count < HARDENED for count in counts.values()):
        raise ValueError("a count of addresses is out of range")
    return counts
