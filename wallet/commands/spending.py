"""The common part of commands that spend: lock, summary and confirmation."""

import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from chain.primitives.numbers import OutPoint, id_text
from chain.primitives.transaction import Transaction
from wallet.amounts import groat_text
from wallet.change import next_change
from wallet.errors import (
    FileError,
    FundsError,
    InputError,
    NodeDownError,
    RejectedError,
    os_error_text,
)
from wallet.esplora import Esplora
from wallet.fees import TARGET_DEFAULT, TARGET_MAX, check_fee, feerate_text
from wallet.history.book import Book, CoinStatus, WalletCoin
from wallet.history.scan import GAP_LIMIT
from wallet.keys.account import Account, Keychain
from wallet.keys.passwords import confirm
from wallet.session import Session
from wallet.spend.payment import Draft, sign_draft
from wallet.spend.selection import INPUTS_MAX
from wallet.store.state import State
from wallet.view import outpoint_text

RANDOM: Final = secrets.SystemRandom()
_UNSIGNED: Final = (
    "make an unsigned transaction with psbt create, or with --unsigned of bump and cpfp"
)


FeeTarget = Annotated[
    int | None,
    typer.Option(
        metavar="BLOCKS",
        min=1,
        max=TARGET_MAX,
        help=f"Use the node's fee rate for this many blocks (default {TARGET_DEFAULT}).",
    ),
]


@dataclass(frozen=True)
class ConfirmFlags:
    """Flags of commands that send."""

    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the signed transaction instead of sending it.")
    ] = False
    force: Annotated[bool, typer.Option("--force", help="Pay even an absurd fee.")] = False


@dataclass(frozen=True, slots=True)
class SpendSession:
    """A wallet locked for one payment."""

    session: Session
    esplora: Esplora
    account: Account
    state: State
    book: Book
    change_index: int  # of the next change address
    is_change_shared: bool  # whether a draft or an unconfirmed payment uses it too

    @property
    def coins(self) -> list[WalletCoin]:
        """All coins except frozen ones."""
        return [coin for coin in self.book.coins() if coin.point not in self.state.frozen]

    @property
    def change_script(self) -> bytes:
        """The script of the next change address."""
        return self.account.script(Keychain.CHANGE, self.change_index)

    def pick(self, points: Sequence[OutPoint]) -> tuple[WalletCoin, ...]:
        """Return the named coins. Raises InputError: not the wallet's, frozen, or immature."""
        if len(points) > INPUTS_MAX:
            raise InputError(f"a payment can spend at most {INPUTS_MAX} coins")
        coins = {coin.point: coin for coin in self.book.coins()}
        return tuple(self._picked(coins.get(point), point) for point in dict.fromkeys(points))

    def explained(self, error: FundsError) -> FundsError:
        """Return the error with the wallet's other coins, and why these cannot be spent now."""
        sums = {"immature": 0, "unconfirmed": 0, "frozen": 0}
        for coin in self.book.coins():
            if coin.status is CoinStatus.IMMATURE:
                sums["immature"] += coin.value
            elif not coin.is_spendable:
                sums["unconfirmed"] += coin.value
            elif coin.point in self.state.frozen:
                sums["frozen"] += coin.value
        others = ", ".join(f"{groat_text(value)} {what}" for what, value in sums.items() if value)
        return FundsError(f"{error} (besides {others})") if others else error

    def held_change(self, draft: Draft) -> int | None:
        """Return the index of the draft's change address, if it is the next one.

        Warns if another draft or payment uses it too.
        """
        at = draft.change_at
        if at is None or draft.transaction.outputs[at].script != self.change_script:
            return None
        if self.is_change_shared:
            self.session.note(
                f"the next {GAP_LIMIT} change addresses are all taken by drafts or payments that "
                f"are not in the chain yet: number {self.change_index} is used once more"
            )
        return self.change_index

    def _picked(self, coin: WalletCoin | None, point: OutPoint) -> WalletCoin:
        name = outpoint_text(point)
        if coin is None:
            raise InputError(f"this wallet has no coin {name}: see utxos")
        if point in self.state.frozen:
            raise InputError(f"{name} is frozen: unfreeze it first")
        if coin.status is CoinStatus.IMMATURE:
            raise InputError(f"{name} is an immature coinbase: see utxos")
        return coin


@contextmanager
def open_spend(session: Session, hold: AbstractContextManager[None]) -> Iterator[SpendSession]:
    """Scan the wallet's coins while it is locked by `hold`, a method of the session."""
    account = session.folder.account()
    with session.node("nothing was sent") as esplora, hold:
        state = session.folder.state()
        book = session.scan(account, esplora, state)
        spend = SpendSession(
            session, esplora, account, state, book, *next_change(account, book, state)
        )
        try:
            yield spend
        except FundsError as error:
            raise spend.explained(error) from None


def hold_for(session: Session, flags: ConfirmFlags) -> AbstractContextManager[None]:
    """Return a payment's lock: none if it is not to be sent."""
    return nullcontext() if flags.dry_run else session.lock()


def sign_and_send(
    spend: SpendSession,
    draft: Draft,
    words: Sequence[str],
    flags: ConfirmFlags,
    label: str | None = None,
) -> Transaction:
    """Sign, show `words`, ask, and send, with a label; return the signed transaction."""
    session = spend.session
    signed = sign_draft(draft, session.open(_UNSIGNED)[1], session.params)
    if not session.json or not flags.yes:
        sys.stderr.write("".join(f"{line}\n" for line in words))
    if not flags.dry_run:
        if not flags.yes:
            confirm("Send it?", session.input)
        notes = PaymentNotes(spend.held_change(draft), label or "")
        broadcast_transaction(session, spend.esplora, spend.state, signed, notes)
    return signed


@dataclass(frozen=True, slots=True)
class PaymentNotes:
    """What is stored with a payment."""

    change_index: int | None = None  # the change address to reserve
    label: str = ""


_NO_NOTES: Final = PaymentNotes()


def broadcast_transaction(
    session: Session,
    esplora: Esplora,
    state: State,
    signed: Transaction,
    notes: PaymentNotes = _NO_NOTES,
) -> None:
    """Save a payment, then send it: after a crash or a lost answer its coins stay reserved.

    So does its change address, if the notes have one. A refused payment leaves no trace.
    Raises FileError: it could not be saved, so nothing was sent; and as `Esplora.broadcast`.
    """
    now = int(time.time())
    pending, held, labels = state.pending, dict(state.held), dict(state.labels)
    state.add_pending(signed, now)
    if notes.change_index is not None:
        state.hold_change(notes.change_index, now)
    if notes.label:
        state.set_label(id_text(signed.txid), notes.label)
    try:
        session.folder.save(state)
    except OSError as error:
        raise FileError(f"{os_error_text(error)}: nothing was sent") from None
    try:
        esplora.broadcast(signed)
    except (RejectedError, NodeDownError):
        state.pending, state.held, state.labels = pending, held, labels
        session.save_if_possible(state)
        raise


def check_fee_sane(draft: Draft, paid: int, flags: ConfirmFlags) -> None:
    """Refuse an absurd fee, unless forced. Raises UnsafeError."""
    if not flags.force:
        check_fee(draft.fee, draft.feerate, paid)


def report(session: Session, draft: Draft, signed: Transaction, **more: Any) -> None:  # noqa: ANN401
    """Print the id of the sent transaction; with `broadcast=False`, the transaction."""
    value = {
        "txid": id_text(signed.txid),
        "broadcast": True,
        "amount": draft.paid,
        "fee": draft.fee,
        "change": draft.change,
        "unit": "grain",
        "vsize": signed.vsize,
        "fee_rate": feerate_text(draft.feerate),
        "hex": signed.raw.hex(),
    } | more
    session.show(value, [id_text(signed.txid) if value["broadcast"] else signed.raw.hex()])
