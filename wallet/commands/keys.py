"""Commands about the wallet itself: create, restore, list, show-seed."""

from dataclasses import dataclass
from typing import Annotated

import typer

from wallet.account import Account, Branch, account_key
from wallet.amounts import groat_text
from wallet.errors import FileError, NodeDownError
from wallet.flags import Common
from wallet.folder import WalletFolder, wallet_folders
from wallet.keyfile import seal
from wallet.passwords import ask_new_password, ask_secret
from wallet.secret import Secret, check_words, new_words
from wallet.session import Session


@dataclass(frozen=True, slots=True)
class NewFlags:
    """Flags of a wallet that comes to be."""

    no_password: Annotated[
        bool, typer.Option("--no-password", help="Keep it in clear text (devnet and regtest only).")
    ] = False
    ask_passphrase: Annotated[
        bool,
        typer.Option("--ask-passphrase", help="Ask for a BIP39 passphrase, part of the seed."),
    ] = False


@dataclass(frozen=True, slots=True)
class CreateFlags(NewFlags):
    """Flags of `create`."""

    words: Annotated[int, typer.Option(metavar="12|24", help="How many words.")] = 12


def create(common: Common, flags: CreateFlags) -> None:
    """Make a wallet and show its words, once: they are the only backup.

    Lines of standard input, if it is no terminal: the passphrase (with --ask-passphrase), the
    password.
    """
    session = Session(common)
    _refuse_existing(session)
    words = new_words(flags.words)
    address = _make(session, Secret(words, _passphrase(flags)), flags)
    session.show(
        {
            "wallet": session.folder.name,
            "network": session.params.name,
            "words": words,
            "address": address,
        },
        [
            "Write these words down. Whoever has them has the coins; without them, a lost",
            "computer or a forgotten password is lost money. They are not shown again unasked.",
            "",
            f"    {words}",
            "",
            f"wallet {session.folder.name} ({session.params.name}), first address: {address}",
        ],
    )


def restore(common: Common, flags: NewFlags) -> None:
    """Make a wallet from its words, and look for its coins.

    Lines of standard input, if it is no terminal: the words, the passphrase (with
    --ask-passphrase), the password.
    """
    session = Session(common)
    _refuse_existing(session)
    words = check_words(ask_secret("Words: "))
    address = _make(session, Secret(words, _passphrase(flags)), flags)
    found = {"wallet": session.folder.name, "network": session.params.name, "address": address}
    lines = [f"wallet {session.folder.name} ({session.params.name}), first address: {address}"]
    try:
        book = session.look().book
    except NodeDownError as error:
        session.note(f"restored, but not looked for coins: {error}")
        session.show(found | {"transactions": None, "total": None, "unit": "grain"}, lines)
        return
    count, total = len(book.history()), book.balance().total
    lines.append(f"{count} transactions found, balance {groat_text(total)}")
    session.show(found | {"transactions": count, "total": total, "unit": "grain"}, lines)


def list_wallets(common: Common) -> None:
    """List the wallets of the network."""
    session = Session(common)
    folders = wallet_folders(session.datadir, session.params)
    listed = [(folder.name, _state_of(folder), str(folder.path)) for folder in folders]
    value = [{"wallet": name, "state": state, "path": path} for name, state, path in listed]
    session.show_table(value, ["wallet", "state", "folder"], listed)


def show_seed(common: Common) -> None:
    """Show the words (and passphrase) of a wallet; asks for its password."""
    session = Session(common)
    secret, _ = session.open()
    lines = [secret.words]
    if secret.passphrase:
        lines.append(f"passphrase: {secret.passphrase}")
    session.show({"words": secret.words, "passphrase": secret.passphrase}, lines)


def _state_of(folder: WalletFolder) -> str:
    try:
        return "encrypted" if folder.key_file().needs_password else "clear text"
    except FileError as error:  # one bad wallet must not hide the others
        return str(error)


def _refuse_existing(session: Session) -> None:
    if session.folder.exists():
        raise FileError(
            f"wallet {session.folder.name!r} of network {session.params.name} exists already; "
            "-w NAME makes another one"
        )


def _passphrase(flags: NewFlags) -> str:
    return ask_secret("Passphrase: ") if flags.ask_passphrase else ""


def _make(session: Session, secret: Secret, flags: NewFlags) -> str:
    """Write the key file and return the first address."""
    password = None if flags.no_password else ask_new_password(session.common.password_fd)
    account = Account(account_key(secret, session.params).public(), session.params)
    key_file = seal(secret, password, network=session.params.name, account=account.encode())
    session.folder.create(key_file)
    return account.address(Branch.RECEIVE, 0)
