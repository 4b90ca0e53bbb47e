"""Commands about the wallet itself: create, restore, list, export, show-seed, password."""

from dataclasses import dataclass
from typing import Annotated, Final

import typer

from chain.primitives.numbers import counted
from wallet.amounts import groat_text
from wallet.data_folder import networks_with_wallets
from wallet.errors import FileError, InputError
from wallet.flags import Common
from wallet.keys.account import Keychain, open_account
from wallet.keys.descriptor import descriptor, read_descriptors
from wallet.keys.keyfile import KeyFile, in_clear_text, seal, watch
from wallet.keys.passwords import ask_new_password, ask_secret, ask_words, check_descriptor
from wallet.keys.secret import NEW_WORD_COUNTS, Secret, new_words
from wallet.session import AWAY, ScanOptions, Session
from wallet.store.folder import WalletFolder, networks_text, wallet_folders
from wallet.table import Column

CLEAR_TEXT: Final = "clear text"  # the state of a wallet without a password, for programs
NO_PASSWORD: Final = "no password"  # noqa: S105 - the same for people


def _word_counts(incomplete: str) -> list[str]:
    return [text for text in map(str, NEW_WORD_COUNTS) if text.startswith(incomplete)]


@dataclass(frozen=True, slots=True)
class NewFlags:
    """Flags for a new wallet."""

    no_password: Annotated[
        bool,
        typer.Option(
            "--no-password", help="Store it without encryption, where coins are worthless."
        ),
    ] = False
    ask_passphrase: Annotated[
        bool,
        typer.Option("--ask-passphrase", help="Ask for a BIP39 passphrase, part of the seed."),
    ] = False


@dataclass(frozen=True, slots=True)
class CreateFlags(NewFlags):
    """Flags of `create`."""

    words: Annotated[
        int, typer.Option(metavar="12|24", help="How many words.", autocompletion=_word_counts)
    ] = 12
    descriptor: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DESC", help="Make a watch-only wallet from a descriptor: no words, no keys."
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class RestoreFlags(NewFlags):
    """Flags of `restore`."""

    birthday: Annotated[
        int,
        typer.Option(
            metavar="HEIGHT",
            min=0,
            help="Height of a block before the words were made: saves time; detected if wrong.",
        ),
    ] = 0


@dataclass(frozen=True, slots=True)
class PasswordFlags:
    """Flags of `password`."""

    new_password_fd: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Read the new password from this descriptor."),
    ] = None
    no_password: Annotated[
        bool,
        typer.Option("--no-password", help="Remove the password, where coins are worthless."),
    ] = False


@dataclass(frozen=True, slots=True)
class ExportFlags:
    """Flags of `export`."""

    split: Annotated[
        bool,
        typer.Option("--split", help="One for each branch, for wallets without <0;1>."),
    ] = False


def create(common: Common, flags: CreateFlags) -> None:
    """Make a wallet and show its words, once: they are the only backup.

    Lines of standard input, if it is not a terminal: the passphrase (with --ask-passphrase), the
    password.
    """
    session = Session(common)
    _refuse_existing(session)
    if flags.descriptor:
        if flags.no_password or flags.ask_passphrase:
            flag = "--ask-passphrase" if flags.ask_passphrase else "--no-password"
            raise InputError(f"--descriptor and {flag} exclude each other: it has no keys to guard")
        _create_watching(session, flags.descriptor)
        return
    words = new_words(flags.words)
    address = _make(session, Secret(words, _passphrase(session, flags)), flags)
    session.show(
        {
            "wallet": session.folder.name,
            "network": session.params.name,
            "words": words,
            "address": address,
        },
        [
            "Write these words down. Whoever has them has the coins; without them, a lost",
            "computer or a forgotten password is lost money. Only show-seed shows them again.",
            "",
            f"    {words}",
            "",
            f"wallet {session.folder.name} ({session.params.name}), first address: {address}",
        ],
    )


def _create_watching(session: Session, texts: list[str]) -> None:
    account = read_descriptors(texts, session.params)
    session.folder.create(watch(account.encode(), session.params.name))
    address = account.address(Keychain.RECEIVE, 0)
    name, network = session.folder.name, session.params.name
    session.show(
        {"wallet": name, "network": network, "watch_only": True, "address": address},
        [f"wallet {name} ({network}), watch-only, first address: {address}"],
    )


def export(common: Common, flags: ExportFlags) -> None:
    """Print the descriptor with which other wallets can watch this one, but not spend.

    Everyone who has it sees all payments of this wallet, past and future.
    """
    session = Session(common)
    account = session.folder.account()
    both, receive, change = (descriptor(account, each) for each in (None, *Keychain))
    session.show(
        {"descriptor": both, "receive": receive, "change": change},
        [receive, change] if flags.split else [both],
    )


def restore(common: Common, flags: RestoreFlags) -> None:
    """Restore a wallet from its words, and scan for its coins.

    The words may be on several lines and have numbers. Lines of standard input, if it is not a
    terminal: the words, the passphrase (with --ask-passphrase), the password.
    """
    session = Session(common)
    _refuse_existing(session)
    words = ask_words(session.input)
    address = _make(session, Secret(words, _passphrase(session, flags)), flags)
    found = {"wallet": session.folder.name, "network": session.params.name, "address": address}
    lines = [f"wallet {session.folder.name} ({session.params.name}), first address: {address}"]
    try:
        book = session.view(ScanOptions(since=flags.birthday)).book
    except AWAY as error:
        session.note(f"restored, but not scanned for coins: {error}")
        session.show(found | {"transactions": None, "total": None, "unit": "grain"}, lines)
        return
    count, total = len(book.history()), book.balance().total
    lines.append(f"{counted(count, 'transaction')} found, balance {groat_text(total)}")
    session.show(found | {"transactions": count, "total": total, "unit": "grain"}, lines)


def list_wallets(common: Common) -> None:
    """List the wallets of the network."""
    session = Session(common)
    folders = wallet_folders(session.datadir, session.params, is_worthless=session.is_worthless)
    listed = [(folder.name, state_of(folder), str(folder.path)) for folder in folders]
    value = [{"wallet": name, "state": state, "folder": path} for name, state, path in listed]
    others = networks_with_wallets(session.datadir)
    but = f", but there are some of {networks_text(others)} (--network)" if others else ""
    session.show_table(
        value,
        [Column("wallet"), Column("state"), Column("folder", is_long=True)],
        [
            (name, NO_PASSWORD if state == CLEAR_TEXT else state, path)
            for name, state, path in listed
        ],
        f"no wallets of network {session.params.name} in {session.datadir}{but}: make one with "
        "groat-wallet create or restore",
    )


def show_seed(common: Common) -> None:
    """Show the words (and passphrase) of a wallet; asks for its password."""
    session = Session(common)
    secret, _ = session.open("it has no words to show")
    lines = [secret.words]
    if secret.passphrase:
        lines.append(f"passphrase: {secret.passphrase}")
    session.show({"words": secret.words, "passphrase": secret.passphrase}, lines)


def password(common: Common, flags: PasswordFlags) -> None:
    """Change the password of a wallet, or give it one.

    Copies of its file made before still open with the old one. Lines of standard input, if it is
    not a terminal: the password, if it has one, and the new one.
    """
    session = Session(common)
    if flags.new_password_fd is not None:
        if flags.no_password:
            raise InputError("--no-password and --new-password-fd exclude each other")
        check_descriptor("--new-password-fd", flags.new_password_fd)
    without_keys = "there is nothing that a password could guard"
    session.check_keys(without_keys)
    with session.lock():
        secret, _ = session.open(without_keys)
        new = None
        if not flags.no_password:
            new = ask_new_password(flags.new_password_fd, session.input, "New password")
        key_file = _sealed(session, secret, new, session.folder.key_file().account)
        if key_file.open(new or "") != secret:
            raise FileError("the new file does not open: nothing was changed")  # broken hardware
        session.folder.replace(key_file)
    name, state = session.folder.name, state_of(session.folder)
    done = "has no password now" if new is None else "has a new password"
    session.show(
        {"wallet": name, "network": session.params.name, "state": state},
        [f"wallet {name} ({session.params.name}) {done}"],
    )


def state_of(folder: WalletFolder) -> str:
    """Return whether a wallet is encrypted, without password or watch-only, or why unusable."""
    try:
        key_file = folder.key_file()
    except FileError as error:  # one damaged wallet must not hide the others
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
    if key_file.is_watch_only:
        return "watch-only"
    return "encrypted" if key_file.needs_password else CLEAR_TEXT


def _refuse_existing(session: Session) -> None:
    if session.folder.exists():
        raise FileError(
            f"wallet {session.folder.name!r} of network {session.params.name} exists already; "
            "-w NAME makes another one"
        )


def _passphrase(session: Session, flags: NewFlags) -> str:
    return ask_secret("Passphrase: ", session.input) if flags.ask_passphrase else ""


def _make(session: Session, secret: Secret, flags: NewFlags) -> str:
    """Write the key file and return the first address."""
    password = None
    if not flags.no_password:
        password = ask_new_password(session.common.password_fd, session.input)
    account = open_account(secret, session.params)
    session.folder.create(_sealed(session, secret, password, account.encode()))
    return account.address(Keychain.RECEIVE, 0)


def _sealed(session: Session, secret: Secret, password: str | None, account: str) -> KeyFile:
    network = session.params.name
    if password is None:
        is_worthless = session.is_worthless
        return in_clear_text(secret, network=network, account=account, is_worthless=is_worthless)
    return seal(secret, password, network=network, account=account)
