"""A wallet's state between commands; most of it can be recovered from the chain.

Recoverable are the addresses that were handed out, the change addresses of open drafts, sent
payments that the node may not show yet, and transactions that it may drop again. Labels and frozen
coins are only here.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from chain.primitives.encoding import DecodeError
from chain.primitives.key_origin import HARDENED
from chain.primitives.numbers import Hash32, Height, OutPoint
from chain.primitives.transaction import Transaction, decode_transaction
from chain.printable import printable
from wallet.errors import FileError, InputError
from wallet.esplora_shapes import NUMBER_MAX
from wallet.history.dropped import REMEMBERED_AGE_S_MAX, RememberedTransaction
from wallet.keys.account import Keychain
from wallet.store.files import read_private, write_private
from wallet.view import outpoint_text, parse_outpoint

PENDING_AGE_S_MAX: Final = 600  # then the node's answer counts: it may have dropped the payment
LABEL_CHARACTERS_MAX: Final = 100
_LABELS_MAX: Final = 100_000
_FROZEN_MAX: Final = 100_000
HOLD_AGE_S_MAX: Final = REMEMBERED_AGE_S_MAX  # afterwards an open draft counts as abandoned
_HELD_MAX: Final = 1_000
_VERSION: Final = 3
_OLDEST: Final = 1  # 1 lacks labels, frozen, remembered; 2 lacks held
_SECONDS_MAX: Final = 1 << 40
_FILE_BYTES_MAX: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Pending:
    """A payment sent at `time` (seconds since 1970)."""

    transaction: Transaction
    time: int


@dataclass(slots=True)
class State:
    """The numbers of addresses handed out or used in each branch, and the other state."""

    handed_out: dict[Keychain, int] = field(default_factory=lambda: dict.fromkeys(Keychain, 0))
    used: dict[Keychain, int] = field(default_factory=lambda: dict.fromkeys(Keychain, 0))
    pending: dict[Hash32, Pending] = field(default_factory=dict)
    frozen: set[OutPoint] = field(default_factory=set)
    labels: dict[str, str] = field(default_factory=dict)  # by address or transaction id, as text
    remembered: dict[Hash32, RememberedTransaction] = field(default_factory=dict)
    held: dict[int, int] = field(default_factory=dict)  # change index of a draft: since when

    def note_used(self, used: dict[Keychain, int]) -> None:
        """Update the number of used addresses from the chain."""
        for keychain, count in used.items():
            self.used[keychain] = max(self.used[keychain], count)

    def unused(self, keychain: Keychain) -> int:
        """Return the first index after all used addresses."""
        return self.used[keychain]

    def fresh(self, keychain: Keychain) -> int:
        """Return the first index that was neither used nor handed out."""
        return max(self.used[keychain], self.handed_out[keychain])

    def known(self, keychain: Keychain) -> int:
        """Return the number of addresses to scan, whatever the gaps between them."""
        held = max(self.held, default=-1) + 1 if keychain is Keychain.CHANGE else 0
        return max(self.fresh(keychain), held)

    def hand_out(self, keychain: Keychain, index: int) -> None:
        """Remember that an address was shown."""
        self.handed_out[keychain] = max(self.handed_out[keychain], index + 1)

    def hold_change(self, index: int, now: int) -> None:
        """Keep a change address from other drafts for a while; at most _HELD_MAX are held."""
        self.held.pop(index, None)
        self.held[index] = now
        while len(self.held) > _HELD_MAX:
            del self.held[min(self.held, key=lambda each: self.held[each])]

    def add_pending(self, transaction: Transaction, now: int) -> None:
        """Add a payment that is about to be sent; it takes the place of any that it replaces."""
        points = {txin.outpoint for txin in transaction.inputs}
        remaining = {
            txid: pending
            for txid, pending in self.pending.items()
            if points.isdisjoint(txin.outpoint for txin in pending.transaction.inputs)
        }
        self.pending = remaining | {transaction.txid: Pending(transaction, now)}

    def freeze(self, point: OutPoint) -> None:
        """Keep a coin from being spent. Raises InputError: too many are frozen."""
        if len(self.frozen) >= _FROZEN_MAX:
            raise InputError(f"{_FROZEN_MAX} coins are frozen: unfreeze some first")
        self.frozen.add(point)

    def set_label(self, name: str, text: str) -> None:
        """Give an address or transaction a label; the empty one removes it. Raises InputError."""
        if not text:
            self.labels.pop(name, None)
            return
        check_label(text)
        if len(self.labels) >= _LABELS_MAX and name not in self.labels:
            raise InputError(f"there are {_LABELS_MAX} labels: remove some first")
        self.labels[name] = text

    def expire(self, now: int) -> None:
        """Remove payments that the node has had time to show, and abandoned drafts."""
        self.held = {
            index: since
            for index, since in self.held.items()
            if index >= self.used[Keychain.CHANGE] and abs(now - since) <= HOLD_AGE_S_MAX
        }
        for txid, pending in list(self.pending.items()):
            if abs(now - pending.time) > PENDING_AGE_S_MAX:
                del self.pending[txid]


def check_label(text: str) -> None:
    """Raise InputError unless a text can be a label; the empty one can."""
    if len(text) > LABEL_CHARACTERS_MAX or printable(text) != text:
        raise InputError(
            f"a label is one line of at most {LABEL_CHARACTERS_MAX} printable characters"
        )


def load_state(path: Path) -> State:
    """Return the state stored at `path`, a new one if there is no file.

    Raises FileError: others may read it; or it is invalid (the text says that it may be deleted).
    """
    try:
        table = json.loads(read_private(path, _FILE_BYTES_MAX))
        if _whole(table["version"], _SECONDS_MAX) > _VERSION:
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
    """Store the state at `path` durably."""
    table = {
        "version": _VERSION,
        "handed_out": [state.handed_out[keychain] for keychain in Keychain],
        "used": [state.used[keychain] for keychain in Keychain],
        "pending": [[p.time, p.transaction.raw.hex()] for p in state.pending.values()],
        "frozen": sorted(outpoint_text(point) for point in state.frozen),
        "labels": state.labels,
        "remembered": [
            [each.seen_at, each.height, each.net, each.transaction.raw.hex(), each.number]
            for each in state.remembered.values()
        ],
        "held": [[index, since] for index, since in state.held.items()],
    }
    write_private(path, json.dumps(table).encode() + b"\n")


def _from_table(table: dict[str, Any]) -> State:
    if table["version"] < _OLDEST:
        raise ValueError("there was never such a version")
    pending = {}
    for time, raw in table["pending"]:
        transaction = decode_transaction(bytes.fromhex(raw))
        pending[transaction.txid] = Pending(transaction, _whole(time, _SECONDS_MAX))
    remembered = {}
    for each in table.get("remembered", ()):
        known = _remembered(*each)
        remembered[known.transaction.txid] = known
    return State(
        _counts(table["handed_out"]),
        _counts(table["used"]),
        pending,
        {parse_outpoint(text) for text in table.get("frozen", ())},
        {str(name): str(text) for name, text in table.get("labels", {}).items()},
        remembered,
        {
            _whole(index, HARDENED - 1): _whole(since, _SECONDS_MAX)
            for index, since in table.get("held", ())
        },
    )


def _remembered(
    seen_at: object, height: object, net: object, raw: str, number: object = 0
) -> RememberedTransaction:
    if type(net) is not int:
        raise TypeError("a whole number is expected")
    return RememberedTransaction(
        decode_transaction(bytes.fromhex(raw)),
        net,
        None if height is None else Height(_whole(height, NUMBER_MAX)),
        _whole(seen_at, _SECONDS_MAX),
        _whole(number, _SECONDS_MAX),
    )


def _counts(listed: list[object]) -> dict[Keychain, int]:
    numbers = (_whole(count, HARDENED - 1) for count in listed)
    return dict(zip(Keychain, numbers, strict=True))


def _whole(value: object, most: int) -> int:
    """Return an integer from 0 to `most`. Raises TypeError, ValueError: not one."""
    if type(value) is not int:
        raise TypeError("a whole number is expected")
    if not 0 <= value <= most:
        raise ValueError("a number is out of range")
    return value
