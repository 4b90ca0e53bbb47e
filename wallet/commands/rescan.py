"""The `rescan` command: a new scan of the chain."""

from dataclasses import dataclass
from typing import Annotated, Final

import typer

from chain.primitives.numbers import counted
from wallet.amounts import groat_text
from wallet.errors import InputError
from wallet.flags import Common
from wallet.keys.account import Keychain
from wallet.session import ScanOptions, Session

_AHEAD: Final = 1_000  # addresses beyond the gap limit to match own payments with


@dataclass(frozen=True, slots=True)
class RescanFlags:
    """Flags of `rescan`."""

    from_height: Annotated[
        int,
        typer.Option(
            "--from", metavar="HEIGHT", min=0, help="The cache is trusted for lower blocks."
        ),
    ] = 0


def rescan(common: Common, flags: RescanFlags) -> None:
    """Scan for all payments again, and for change far beyond the gap limit.

    For a wrong balance, and for a wallet whose words were used by another program.
    """
    session = Session(common)
    account = session.folder.account()
    with session.node() as esplora, session.lock_for_draft():
        tip = esplora.tip()[1]
        if flags.from_height > tip:
            raise InputError(f"--from {flags.from_height} is above the tip, which is at {tip}")
        cache = session.folder.cache(esplora.url)
        is_cached = cache.forget(flags.from_height)
        if cache.problem:
            session.note_unsaved(cache.problem)
        state = session.folder.state()
        handed_out = {keychain: state.known(keychain) for keychain in Keychain}
        book = session.scan(account, esplora, state, ScanOptions(ahead=_AHEAD, is_cached=is_cached))
        state.used = book.used()  # from the chain only, without earlier results
        for keychain, count in handed_out.items():
            if count > state.used[keychain]:
                state.hand_out(keychain, count - 1)  # still scanned
        session.save_if_possible(state)
    count, total = len(book.history()), book.balance().total
    session.show(
        {"from": flags.from_height, "transactions": count, "total": total, "unit": "grain"},
        [f"{counted(count, 'transaction')} found, balance {groat_text(total)}"],
    )
