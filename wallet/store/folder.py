"""Where wallets are kept: DATADIR/NETWORK/wallets/NAME, one folder each."""

import os
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from chain.consensus.params import Params
from chain.primitives.key_origin import DerivationError
from chain.printable import printable
from wallet.data_folder import KEY_FILE, networks_with_wallets, wallet_names, wallets_path
from wallet.errors import FileError, InputError, os_error_text
from wallet.history.cache import Cache
from wallet.keys.account import Account, decode_account
from wallet.keys.keyfile import DAMAGED, KEY_FILE_BYTES_MAX, KeyFile, decode_key_file
from wallet.store.files import (
    locked,
    locked_if_free,
    make_private_folder,
    read_private,
    write_private,
)
from wallet.store.state import State, load_state, save_state

DEFAULT_NAME: Final = "default"
_STATE_FILE: Final = "state.json"
_CACHE_FILE: Final = "cache.sqlite"
_LOCK_FILE: Final = "lock"
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class WalletFolder:
    """One wallet's files; it need not exist yet."""

    path: Path
    params: Params
    is_worthless: bool = False  # whether a network file says that of its coins

    @property
    def name(self) -> str:
        """The name for `-w`."""
        return self.path.name

    def exists(self) -> bool:
        """Return whether there is a key file."""
        return (self.path / KEY_FILE).exists()

    def create(self, key_file: KeyFile) -> None:
        """Write the key file of a new wallet.

        Raises FileError: there is one already, or its folder cannot be made.
        """
        try:
            make_private_folder(self.path.parent)
            make_private_folder(self.path)
        except OSError as error:
            why = f"the wallet's folder cannot be made: {os_error_text(error)}"
            raise FileError(f"{why}: choose another by --datadir") from None
        try:
            write_private(self.path / KEY_FILE, key_file.encode(), overwrite=False)
        except OSError:
            with suppress(OSError):  # it has other files
                self.path.rmdir()
            raise

    def replace(self, key_file: KeyFile) -> None:
        """Put a key file in the place of the present one, which stays if this fails.

        A link to the file stays one. Raises OSError; FileError: the new one cannot be read back.
        """
        raw = key_file.encode()
        decode_key_file(raw, self.params.name, is_worthless=self.is_worthless)
        write_private(Path(os.path.realpath(self.path / KEY_FILE)), raw)

    def key_file(self) -> KeyFile:
        """Return the key file. Raises FileError: missing, unsafe or damaged."""
        path = self.path / KEY_FILE
        try:
            raw = read_private(path, KEY_FILE_BYTES_MAX)
            return decode_key_file(raw, self.params.name, is_worthless=self.is_worthless)
        except FileNotFoundError:
            hint = self._similar() or self._elsewhere()
            raise FileError(
                f"there is no wallet {self.name!r} of network {self.params.name}{hint}: make one "
                "with groat-wallet create or restore"
            ) from None
        except NotADirectoryError as error:
            why = f"{os_error_text(error)}, as a part of this path is a file"
            raise FileError(f"{why}: choose another by --datadir") from None

    def _similar(self) -> str:
        """Return a hint at a wallet with a similar name."""
        found = wallet_names(self.path.parents[2], self.params.name)
        near = get_close_matches(self.name, found, 1)
        return f" (did you mean {near[0]!r}?)" if near else ""

    def _elsewhere(self) -> str:
        """Return a hint at wallets of this name on other networks: a forgotten --network."""
        found = networks_with_wallets(self.path.parents[2], self.name)
        return f", but there is one of {networks_text(found)} (--network)" if found else ""

    def account(self) -> Account:
        """Return the public side of the account; no password is needed."""
        try:
            return decode_account(self.key_file().account, self.params)
        except DerivationError:
            raise FileError(DAMAGED) from None

    def state(self) -> State:
        """Return the wallet's state."""
        return load_state(self.path / _STATE_FILE)

    def save(self, state: State) -> None:
        """Store the wallet's state; the caller holds the lock."""
        save_state(self.path / _STATE_FILE, state)

    def cache(self, source: str) -> Cache:
        """Return the cache of the node at `source` for this wallet."""
        return Cache(self.path / _CACHE_FILE, source)

    def lock(self, on_wait: Callable[[str], None]) -> AbstractContextManager[None]:
        """Lock the wallet against other commands that change its state.

        `on_wait` is called with the current holder, if there is one.
        """
        return locked(self.path / _LOCK_FILE, on_wait)

    def lock_if_free(self) -> AbstractContextManager[bool]:
        """Lock the wallet if no other command has; yields whether it is locked."""
        return locked_if_free(self.path / _LOCK_FILE)


def networks_text(names: Sequence[str]) -> str:
    """Return the names of networks that a data directory has folders of, for people."""
    return " and ".join(f"network {printable(name)}" for name in names)


def wallet_folder(
    datadir: Path, params: Params, name: str, *, is_worthless: bool = False
) -> WalletFolder:
    """Return the folder of a wallet. Raises InputError: an invalid name."""
    if _NAME.fullmatch(name) is None:
        rule = "a wallet's name has 1 to 64 letters or digits, and _.- inside"
        raise InputError(f"{rule}: {printable(name, 80)!r}")
    return WalletFolder(wallets_path(datadir, params.name) / name, params, is_worthless)


def wallet_folders(
    datadir: Path, params: Params, *, is_worthless: bool = False
) -> list[WalletFolder]:
    """Return all wallets of a network, by name."""
    path = wallets_path(datadir, params.name)
    names = wallet_names(datadir, params.name)
    return [WalletFolder(path / name, params, is_worthless) for name in names]
