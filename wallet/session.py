"""One run of a command: the wallet, the node and the output that its flags ask for."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import platformdirs
from rich import box
from rich.console import Console
from rich.table import Table

from wallet.account import Account, account_key
from wallet.book import Book
from wallet.derivation import Node
from wallet.errors import FileError, NodeDownError
from wallet.esplora import Esplora
from wallet.flags import Common
from wallet.folder import DEFAULT_NAME, WalletFolder, wallet_folder
from wallet.keyfile import UNREADABLE
from wallet.network import find_network, local_node
from wallet.passwords import ask_password
from wallet.past import remember
from wallet.scan import scan
from wallet.secret import Secret
from wallet.state import State

_Rows = Sequence[Sequence[str]]
_WIDE: Final = 240  # columns where no terminal sets any: ids must not be broken


@dataclass(frozen=True, slots=True)
class Look:
    """A wallet at one moment."""

    account: Account
    book: Book
    state: State


class Session:
    """What a command works with; made from the common flags."""

    def __init__(self, common: Common) -> None:
        """Find network and wallet folder; nothing is opened yet. Raises InputError."""
        self.common = common
        self.network = common.network or "main"
        self.params = find_network(self.network)
        self.datadir = common.datadir or Path(platformdirs.user_data_dir("groat", appauthor=False))
        name = DEFAULT_NAME if common.wallet is None else common.wallet
        self.folder: WalletFolder = wallet_folder(self.datadir, self.params, name)
        self.json = common.json

    def show(self, value: object, lines: Sequence[str]) -> None:
        """Print the result: `value` with --json, else `lines`."""
        if self.json:
            sys.stdout.write(json.dumps(value) + "\n")
        else:
            sys.stdout.write("".join(f"{line}\n" for line in lines))

    def show_table(
        self, value: object, heads: Sequence[str], rows: Sequence[Sequence[str]]
    ) -> None:
        """Print the result: `value` with --json, else a table; a head ending in > aligns right."""
        if self.json:
            self.show(value, [])
            return
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for head in heads:
            justify: Any = "right" if head.endswith(">") else "left"
            table.add_column(head.rstrip(">"), justify=justify, overflow="fold")
        for row in rows:
            table.add_row(*row)
        console = Console(markup=False, highlight=False, emoji=False)
        if not console.is_terminal:
            console.width = _WIDE
        console.print(table)

    def note(self, text: str) -> None:
        """Tell people something beside the result."""
        sys.stderr.write(f"groat-wallet: {text}\n")

    def open(self) -> tuple[Secret, Node]:
        """Return the secret and the account's private key, asking for the password if need be.

        Raises FileError: wrong password or damaged.
        """
        key_file, account = self.folder.key_file(), self.folder.account()
        password = ask_password(self.common.password_fd) if key_file.needs_password else ""
        secret = key_file.open(password)
        key = account_key(secret, self.params)
        if key.public() != account.node:
            raise FileError(UNREADABLE)
        return secret, key

    @contextmanager
    def node(self, since: int = 0) -> Iterator[Esplora]:
        """Connect to the node, to be asked of what is in blocks from the height `since` on.

        Raises NodeDownError, with what to do; NetworkError.
        """
        esplora = Esplora(self.common.node or local_node(self.params, self.network), since)
        try:
            esplora.check_network(self.params)
            yield esplora
        except NodeDownError as error:
            start = f"groat node --network {self.common.network or self.params.name}"
            raise NodeDownError(
                f"{error}: start one with `{start}`, or name one by --node"
            ) from None
        finally:
            esplora.close()

    def scan(self, account: Account, esplora: Esplora, state: State) -> Book:
        """Return the account's book, and let `state` take note of it (the caller may save it)."""
        console = Console(stderr=True)
        known = {branch: state.fresh(branch) for branch in state.used}
        cache = self.folder.cache(esplora.url)
        if self.json or not console.is_terminal:
            book = scan(account, esplora, known, lambda _: None, cache)
        else:
            with console.status("looking for coins") as status:
                book = scan(
                    account,
                    esplora,
                    known,
                    lambda count: status.update(f"looking for coins: {count} addresses"),
                    cache,
                )
        now = int(time.time())
        state.expire(now)
        book.add_pending([pending.transaction for pending in state.pending.values()])
        state.note_used(book.used())
        state.remembered = remember(state.remembered, book, now)
        return book

    def look(self, since: int = 0) -> Look:
        """Return the wallet as the node has it now, and remember what may vanish again."""
        account, state = self.folder.account(), self.folder.state()
        with self.node(since) as esplora:
            book = self.scan(account, esplora, state)
        self._remember(book)
        return Look(account, book, state)

    def _remember(self, book: Book) -> None:
        """Keep what may vanish again, unless a command that spends holds the wallet.

        Looking waits for nobody; who spends remembers too.
        """
        with self.folder.lock_if_free() as is_held:
            if not is_held:
                return
            state = self.folder.state()  # another command may have saved since
            remembered = remember(state.remembered, book, int(time.time()))
            if remembered != state.remembered:
                state.remembered = remembered
                self.folder.save(state)
