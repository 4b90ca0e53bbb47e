"""What a wallet remembers between commands; losing it loses nothing that the chain does not know.

That is how far addresses were handed out, payments sent that the node may not show yet, and
transactions that it may drop again; and, which deleting it does lose, labels and which coins are
frozen.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from chain.primitives.encoding import DecodeError
from chain.primitives.key_origin import HARDENED
from chain.primitives.numbers import Hash32, Height, OutPoint
from chain.primitives.transaction import Transaction, decode_transaction
from wallet.account import Branch
from wallet.errors import FileError, InputError
from wallet.files import read_private, write_private
from wallet.past import Remembered
from wallet.view import outpoint_text, parse_outpoint, printable

PENDING_AGE_S_MAX: Final = 600  # then the node's word counts: it may have dropped the payment
LABEL_CHARACTERS_MAX: Final = 100
_LABELS_MAX: Final = 100_000
_FROZEN_MAX: Final = 100_000
_VERSION: Final = 2
_OLDEST: Final = 1  # without labels, frozen, remembered
_FILE_BYTES_MAX: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Pending:
    """A payment sent at `time` (seconds since 1970)."""

    transaction: Transaction
    time: int


@dataclass(slots=True)
class State:
    """How many addresses of each branch were handed out, or seen used; and what else is known."""

    handed_out: dict[Branch, int] = field(default_factory=lambda: dict.fromkeys(Branch, 0))
    used: dict[Branch, int] = field(default_factory=lambda: dict.fromkeys(Branch, 0))
    pending: dict[Hash32, Pending] = field(default_factory=dict)
    frozen: set[OutPoint] = field(default_factory=set)
    labels: dict[str, str] = field(default_factory=dict)  # by address or transaction id, as text
    remembered: dict[Hash32, Remembered] = field(default_factory=dict)

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

    def add_pending(self, transaction: Transaction, now: int) -> None:
        """Take a payment that is about to be sent, in the place of any that it replaces."""
        points = {txin.outpoint for txin in transaction.inputs}
        kept = {
            txid: pending
            for txid, pending in self.pending.items()
            if points.isdisjoint(txin.outpoint for txin in pending.transaction.inputs)
        }
        self.pending = kept | {transaction.txid: Pending(transaction, now)}

    def freeze(self, point: OutPoint) -> None:
        """Keep a coin from being spent. Raises InputError: too many are."""
        if len(self.frozen) >= _FROZEN_MAX:
            raise InputError(f"{_FROZEN_MAX} coins are frozen: unfreeze some first")
        self.frozen.add(point)

    def set_label(self, name: str, text: str) -> None:
        """Give an address or transaction a label; the empty one removes it. Raises InputError."""
        if not text:
            self.labels.pop(name, None)
            return
        if len(text) > LABEL_CHARACTERS_MAX or printable(text) != text:
            raise InputError(
                f"a label is one line of at most {LABEL_CHARACTERS_MAX} printable characters"
            )
        if len(self.labels) >= _LABELS_MAX and name not in self.labels:
            raise InputError(f"there are {_LABELS_MAX} labels: remove some first")
        self.labels[name] = text

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
        if table["version"] not in range(_OLDEST, _VERSION + 1):
            raise FileError(f"{path} was written by a later groat")
        return _from_table(table)
    except FileNotFoundError:
        return State()
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        DecodeError,
        InputError,
    ):
        raise FileError(
            f"{path} is damaged; it can be deleted: neither keys nor coins are lost, only labels "
            "and which coins were frozen"
        ) from None


def save_state(path: Path, state: State) -> None:
    """Keep the state at `path`, durably."""
    table = {
        "version": _VERSION,
        "handed_out": [state.handed_out[branch] for branch in Branch],
        "used": [state.used[branch] for branch in Branch],
        "pending": [[p.time, p.transaction.raw.hex()] for p in state.pending.values()],
        "frozen": sorted(outpoint_text(point) for point in state.frozen),
        "labels": state.labels,
        "remembered": [
            [each.seen_at, each.height, each.net, each.transaction.raw.hex()]
            for each in state.remembered.values()
        ],
    }
    write_private(path, json.dumps(table).encode() + b"\n")


def _from_table(table: dict[str, Any]) -> State:
    pending = {}
    for time, raw in table["pending"]:
        transaction = decode_transaction(bytes.fromhex(raw))
        pending[transaction.txid] = Pending(transaction, int(time))
    remembered = {}
    for seen_at, height, net, raw in table.get("remembered", ()):
        transaction = decode_transaction(bytes.fromhex(raw))
        known = Remembered(transaction, int(net), _height(height), int(seen_at))
        remembered[transaction.txid] = known
    return State(
        _counts(table["handed_out"]),
        _counts(table["used"]),
        pending,
        {parse_outpoint(text) for text in table.get("frozen", ())},
        {str(name): str(text) for name, text in table.get("labels", {}).items()},
        remembered,
    )


def _height(value: int | None) -> Height | None:
    return None if value is None else Height(int(value))


def _counts(listed: list[int]) -> dict[Branch, int]:
    counts = dict(zip(Branch, map(int, listed), strict=True))
    if not all(0 <= count < HARDENED for count in counts.values()):
        raise ValueError("a count of addresses is out of range")
    return counts
