"""One run of a command: the wallet, the node and the output chosen by its flags."""

import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from chain.errors import UsageError
from chain.folder_path import expanded, file_in_the_way
from chain.primitives.extended_key import ExtendedKey
from chain.primitives.numbers import counted
from chain.text_file import shown_path
from wallet.data_folder import default_datadir, wallets_path
from wallet.errors import (
    FileError,
    InputError,
    NetworkError,
    NodeAwayError,
    NodeDownError,
    NodeError,
    NoDefaultNodeError,
    NodeTlsError,
    UnknownOutcomeError,
    os_error_text,
)
from wallet.esplora import Esplora, checked_url
from wallet.flags import NETWORK_DEFAULT, Common
from wallet.history.book import Book
from wallet.history.cache import LastView
from wallet.history.dropped import numbers, remember
from wallet.history.scan import LOOK_AHEAD, Scan, Start, book_as_of, scan
from wallet.keys.account import Account, Keychain, account_key
from wallet.keys.keyfile import DAMAGED, WATCH_ONLY
from wallet.keys.passwords import ask_password, check_descriptor
from wallet.keys.secret import Secret
from wallet.network import are_coins_worthless, find_network, local_node
from wallet.standard_input import StandardInput
from wallet.store.folder import DEFAULT_NAME, WalletFolder, wallet_folder
from wallet.store.state import State
from wallet.table import Column, table_lines
from wallet.view import date_text

AWAY: Final = (NodeAwayError, NoDefaultNodeError)  # what needs no node goes on without
_TOLD_MAX: Final = 3  # addresses that a warning names


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """Options of a scan."""

    since: int = 0  # a height before which there should be no transactions
    ahead: int = 0  # how far beyond the gap limit own payments are matched
    is_cached: bool = True  # whether the cache of earlier scans may be used


_ORDINARY: Final = ScanOptions()


@dataclass(frozen=True, slots=True)
class WalletView:
    """A wallet's state at one moment; `as_of` is set if the node did not answer now."""

    account: Account
    book: Book
    state: State
    as_of: LastView | None = None

    def as_of_value(self) -> dict[str, Any] | None:
        """Return when the node last answered, for --json; None: now."""
        if self.as_of is None:
            return None
        height, time, node = self.as_of.height, self.as_of.time, self.as_of.source
        return {"height": height, "time": time, "date": date_text(time), "node": node}


class Session:
    """The context of a command, made from the common flags."""

    def __init__(self, common: Common) -> None:
        """Find network and wallet folder; nothing is opened yet. Raises InputError."""
        self.common = common
        self.network = common.network or NETWORK_DEFAULT
        self.params = find_network(self.network)
        self.datadir = _data_folder(common.datadir)
        blocking = file_in_the_way(wallets_path(self.datadir, self.params.name))
        if blocking is not None:
            raise InputError(f"{shown_path(blocking)} is not a folder: choose another by --datadir")
        if common.password_fd is not None:
            check_descriptor("--password-fd", common.password_fd)
        name = DEFAULT_NAME if common.wallet is None else common.wallet
        self.is_worthless = are_coins_worthless(self.params, self.network)
        self.folder: WalletFolder = wallet_folder(
            self.datadir, self.params, name, is_worthless=self.is_worthless
        )
        self.json = common.json
        self.input = StandardInput()
        self._unsaved: str | None = None

    @property
    def node_url(self) -> str:
        """The address of the node that the flags choose. Raises InputError: no default."""
        return checked_url(self.common.node or local_node(self.params, self.network, self.datadir))

    def chosen_url(self) -> str:
        """Return node_url, or "" if there is no default."""
        try:
            return self.node_url
        except NoDefaultNodeError:
            return ""

    def show(self, value: object, lines: Sequence[str]) -> None:
        """Print the result: `value` with --json, else `lines`."""
        if self.json:
            sys.stdout.write(json.dumps(value) + "\n")
        else:
            sys.stdout.write("".join(f"{line}\n" for line in lines))
        self._print_unsaved()

    def show_table(
        self, value: object, columns: Sequence[Column], rows: Sequence[Sequence[str]], empty: str
    ) -> None:
        """Print the result: `value` with --json, else a table, or the note `empty`.

        On a terminal, the table is as wide as that.
        """
        if self.json or not rows:
            self.show(value, [])
            if not self.json:
                self.note(empty)
            return
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        self.show(value, table_lines(columns, rows, width, sys.stdout.encoding or "ascii"))

    def note(self, text: str) -> None:
        """Print a note for people, apart from the result."""
        sys.stderr.write(f"groat-wallet: {text}\n")

    def note_unsaved(self, why: OSError | str) -> None:
        """After the result, print a line about what could not be saved."""
        if self._unsaved is None:
            self._unsaved = os_error_text(why) if isinstance(why, OSError) else why

    def check_keys(self, instead: str) -> None:
        """Raise FileError, with what to do `instead`, if the wallet is watch-only."""
        if self.folder.key_file().is_watch_only:
            raise FileError(f"{WATCH_ONLY}: {instead}")

    def open(self, instead: str) -> tuple[Secret, ExtendedKey]:
        """Return the secret and the account's private key; asks for the password if necessary.

        `instead` says what to do if the wallet has no keys. Raises FileError: wrong password,
        damaged, or watch-only.
        """
        self.check_keys(instead)
        key_file, account = self.folder.key_file(), self.folder.account()
        password = ""
        if key_file.needs_password:
            password = ask_password(self.common.password_fd, self.input)
        secret = key_file.open(password)
        key = account_key(secret, self.params)
        if key.public() != account.key:
            raise FileError(DAMAGED)
        return secret, key

    @contextmanager
    def node(self, undone: str = "") -> Iterator[Esplora]:
        """Connect to the node. Raises NodeDownError, with what to do; NetworkError.

        `undone` says in every error of the node what was not done because of it, unless the error
        itself says that the outcome is unknown.
        """
        so = f", so {undone}" if undone else ""
        esplora = Esplora(self.node_url)
        try:
            esplora.check_network(self.params)
            yield esplora
        except UnknownOutcomeError:
            raise
        except NodeTlsError as error:
            raise NodeTlsError(f"{error}{so}") from None
        except NodeDownError as error:
            start = f"groat node --network {self.common.network or self.params.name}"
            raise NodeDownError(
                f"{error}{so}: start one with `{start}`, or name one by --node"
            ) from None
        except (NodeError, NetworkError) as error:
            if not so:
                raise
            raise type(error)(f"{error}{so}") from None
        finally:
            esplora.close()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the wallet to change it; names the current holder if it has to wait.

        Raises FileError: held for too long by another, or not writable.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(self.folder.lock(self.note))
            except OSError as error:
                raise FileError(f"{os_error_text(error)}: nothing was done") from None
            yield

    @contextmanager
    def lock_for_draft(self) -> Iterator[None]:
        """Lock the wallet for a draft; a read-only folder is enough, as notes are optional."""
        with ExitStack() as stack:
            try:
                stack.enter_context(self.folder.lock(self.note))
            except OSError as error:
                self.note_unsaved(error)
            yield

    @contextmanager
    def lock_if_free(self) -> Iterator[bool]:
        """Lock the wallet to save a scan's notes; yields whether it is locked. Never waits."""
        with ExitStack() as stack:
            is_held = False
            try:
                is_held = stack.enter_context(self.folder.lock_if_free())
            except OSError as error:
                self.note_unsaved(error)
            yield is_held

    def save_if_possible(self, state: State) -> None:
        """Save optional state; if that fails, print a note."""
        try:
            self.folder.save(state)
        except OSError as error:
            self.note_unsaved(error)

    def scan(
        self, account: Account, esplora: Esplora, state: State, options: ScanOptions = _ORDINARY
    ) -> Book:
        """Return the account's book, and update `state` from it (the caller may save it)."""
        console = Console(stderr=True)
        start = _start(state, options)
        cache = self.folder.cache(esplora.url) if options.is_cached else None
        if self.json or not console.is_terminal:
            found = scan(account, esplora, start, lambda _: None, cache)
        else:
            with console.status("looking for coins") as status:
                found = scan(
                    account,
                    esplora,
                    start,
                    lambda count: status.update(f"looking for coins: {counted(count, 'address')}"),
                    cache,
                )
        book, now = found.book, int(time.time())
        if cache and not found.shortfalls:
            cache.save_view(LastView(found.seen, book.tip_height, now, esplora.url))
        if cache and cache.problem:
            self.note_unsaved(cache.problem)
        self._warn(found, account, options.since)
        state.note_used(book.used())
        state.expire(now)
        book.add_pending([pending.transaction for pending in state.pending.values()])
        state.remembered = remember(state.remembered, book, now)
        return book

    def view(self, options: ScanOptions = _ORDINARY) -> WalletView:
        """Return the wallet's current view, and remember transactions that may be dropped."""
        account, state = self.folder.account(), self.folder.state()
        with self.node() as esplora:
            book = self.scan(account, esplora, state, options)
        self._remember(book)
        return WalletView(account, book, state)

    def look(self) -> WalletView:
        """Return the wallet's current view, or, while the node is away, the last one of any node.

        A note says how old that is, and names another node. Raises one of AWAY: none is cached.
        """
        try:
            return self.view()
        except AWAY as error:
            last = self.folder.cache("").last_view()  # of whichever node
            if last is None:
                raise
            is_same = last.source.removesuffix("/api") == self.chosen_url().removesuffix("/api")
            where = "" if is_same else f", as {last.source} gave it"
            self.note(f"as of {date_text(last.time)}, block {last.height}{where}: {error}")
        account, state = self.folder.account(), self.folder.state()
        state.expire(last.time)
        book = book_as_of(account, _start(state, ScanOptions()), last)
        book.add_pending([pending.transaction for pending in state.pending.values()])
        return WalletView(account, book, state, last)

    def _print_unsaved(self) -> None:
        if self._unsaved is not None:
            sys.stdout.flush()
            self.note(f"this could not be saved: {self._unsaved}")

    def _warn(self, found: Scan, account: Account, since: int) -> None:
        """Warn if the result may be incomplete or the birthday was wrong."""
        for each in found.shortfalls[:_TOLD_MAX]:
            keychain, index = found.book.key_index(each.script) or (Keychain.RECEIVE, 0)
            self.note(
                f"the node shows {counted(each.shown, 'transaction')} of "
                f"{account.address(keychain, index)} "
                f"and counts {each.counted}: this result may lack some"
            )
        if found.oldest_height is not None and found.oldest_height < since:
            self.note(
                f"there is a payment in block {found.oldest_height}, before the birthday {since}: "
                "the whole chain was scanned"
            )

    def _remember(self, book: Book) -> None:
        """Remember transactions that may be dropped, unless a command that spends has locked it.

        Reading commands never wait; spending commands remember too.
        """
        with self.lock_if_free() as is_held:
            if not is_held:
                return
            state = self.folder.state()  # another command may have saved since
            before = state.remembered, dict(state.used)
            state.remembered = remember(state.remembered, book, int(time.time()))
            state.note_used(book.used())
            if (state.remembered, state.used) != before:
                self.save_if_possible(state)


def _start(state: State, options: ScanOptions) -> Start:
    is_first = not any(state.used.values())
    return Start(
        {keychain: state.known(keychain) for keychain in Keychain},
        numbers(state.remembered),
        options.since,
        max(options.ahead, LOOK_AHEAD if is_first else 0),
    )


def _data_folder(given: Path | None) -> Path:
    """Return the data directory, as the node takes it. Raises InputError."""
    try:
        return default_datadir() if given is None else expanded(given)
    except UsageError as error:
        raise InputError(f"--datadir {error}") from None
