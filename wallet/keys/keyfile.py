"""The key file: a wallet's secret, sealed with a password, and the public account key.

One line of JSON in one canonical form. The checksum finds damage without the password; the cipher
authenticates every other field too, so that none can be replaced. The account key is readable
without the password: viewing a wallet needs none, spending does.
"""

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from chain.printable import printable
from wallet.errors import FileError
from wallet.keys.secret import Secret

KEY_FILE_BYTES_MAX: Final = 16_384
_VERSION: Final = 1
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_BLOCK_FACTOR: Final = 8  # scrypt's r
_LOG2_N_MAX: Final = 20  # 1 GiB: limit on the memory that a file may demand
_LOG2_N_NEW: Final = 17  # 128 MiB, a third of a second
_PARALLEL_MAX: Final = 4
_OPEN_NETWORKS: Final = frozenset({"devnet", "regtest"})  # networks that allow a clear-text wallet

DAMAGED: Final = (
    "the wallet's keys.json is damaged: move it away, and restore the wallet from its words or "
    "from a copy of the file"
)
WATCH_ONLY: Final = "this is a watch-only wallet, without keys"
UNREADABLE: Final = "wrong password"  # the checksum was right before it was tried


@dataclass(frozen=True, slots=True)
class Cost:
    """The work of a password guess: scrypt's parameters (RFC 7914) with r = 8."""

    log2_n: int = _LOG2_N_NEW
    parallel: int = 1


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key file as read: everything but the secret is in clear."""

    network: str
    account: str  # extended public key of the account, behind its [origin]
    cost: Cost | None  # None: no password, the secret is not encrypted
    salt: bytes
    nonce: bytes
    sealed: bytes = field(repr=False)  # empty: a watch-only wallet

    @property
    def is_watch_only(self) -> bool:
        """Whether it has no private keys."""
        return not self.sealed

    @property
    def needs_password(self) -> bool:
        """Whether `open` takes a password."""
        return self.cost is not None

    def open(self, password: str) -> Secret:
        """Return the secret. Raises FileError: wrong password, damaged, or watch-only."""
        if self.is_watch_only:
            raise FileError(WATCH_ONLY)
        plain = self.sealed
        if self.cost is not None:
            cipher = ChaCha20Poly1305(_stretch(password, self.salt, self.cost))
            try:
                plain = cipher.decrypt(self.nonce, self.sealed, self._header())
            except InvalidTag:
                raise FileError(UNREADABLE) from None
        try:
            words, _, passphrase = plain.decode().partition("\n")
        except UnicodeDecodeError:
            raise FileError(DAMAGED) from None
        return Secret(words, passphrase)

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        body = self._fields() | {"sealed": self.sealed.hex()}
        return _canonical(body | {"sha256": _checksum(body)}) + b"\n"

    def _header(self) -> bytes:
        """Return the fields that the cipher authenticates besides the secret: all others."""
        return _canonical(self._fields())

    def _fields(self) -> dict[str, Any]:
        kdf: dict[str, Any] = {"name": "none"}
        if self.cost is not None:
            kdf = {
                "name": "scrypt",
                "log2_n": self.cost.log2_n,
                "r": _BLOCK_FACTOR,
                "p": self.cost.parallel,
                "salt": self.salt.hex(),
            }
        return {
            "version": _VERSION,
            "network": self.network,
            "account": self.account,
            "kdf": kdf,
            "cipher": "chacha20-poly1305" if self.cost is not None else "none",
            "nonce": self.nonce.hex(),
        }


def seal(
    secret: Secret, password: str | None, *, network: str, account: str, cost: Cost = Cost()
) -> KeyFile:
    """Return a key file that `password` opens; None leaves the secret in clear text.

    Salt and nonce are new each time. Raises FileError: no password, where the network requires one.
    """
    if password is None:
        return in_clear_text(secret, network=network, account=account)
    salt, nonce = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_NONCE_BYTES)
    unsealed = KeyFile(network, account, cost, salt, nonce, b"")
    cipher = ChaCha20Poly1305(_stretch(password, salt, cost))
    sealed = cipher.encrypt(nonce, _plain(secret), unsealed._header())
    return KeyFile(network, account, cost, salt, nonce, sealed)


def in_clear_text(
    secret: Secret, *, network: str, account: str, is_worthless: bool = False
) -> KeyFile:
    """Return a key file without a password; `is_worthless`: the coins of the network are.

    Raises FileError: they may be worth something.
    """
    _check_open_allowed(network, is_worthless=is_worthless)
    return KeyFile(network, account, None, b"", b"", _plain(secret))


def watch(account: str, network: str) -> KeyFile:
    """Return the key file of a watch-only wallet."""
    return KeyFile(network, account, None, b"", b"", b"")


def decode_key_file(raw: bytes, network: str, *, is_worthless: bool = False) -> KeyFile:
    """Return the key file encoded by exactly these bytes; `is_worthless` as in `in_clear_text`.

    Raises FileError: damaged in any bit, written by a later groat, of another network, asking for
    more memory than allowed, or in clear text where that is not allowed.
    """
    try:
        table = json.loads(raw)
        version, known = table["version"], _from_table(table)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise FileError(DAMAGED) from None
    if known.encode() != raw:
        if isinstance(version, int) and version > _VERSION and table.get("sha256") == _sum(table):
            raise FileError(f"the wallet file has format {version}, from a later groat")
        raise FileError(DAMAGED)
    if known.network != network:
        raise FileError(f"this wallet is of network {printable(known.network)}, not {network}")
    if known.cost is None:
        if not known.is_watch_only:
            _check_open_allowed(network, is_worthless=is_worthless)
    else:
        _check_bounds(known, known.cost)
    return known


def _check_bounds(known: KeyFile, cost: Cost) -> None:
    if len(known.salt) != _SALT_BYTES or len(known.nonce) != _NONCE_BYTES:
        raise FileError(DAMAGED)
    if not (0 < cost.log2_n <= _LOG2_N_MAX and 0 < cost.parallel <= _PARALLEL_MAX):
        raise FileError("the wallet file asks for more memory or work than a wallet may")


def _from_table(table: dict[str, Any]) -> KeyFile:
    kdf = table["kdf"]
    cost = None
    if kdf["name"] != "none":
        cost = Cost(_whole(kdf["log2_n"]), _whole(kdf["p"]))
    return KeyFile(
        network=str(table["network"]),
        account=str(table["account"]),
        cost=cost,
        salt=bytes.fromhex(kdf["salt"]) if cost else b"",
        nonce=bytes.fromhex(table["nonce"]),
        sealed=bytes.fromhex(table["sealed"]),
    )


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError("a whole number is expected")
    return value


def _stretch(password: str, salt: bytes, cost: Cost) -> bytes:
    kdf = Scrypt(salt, _KEY_BYTES, n=1 << cost.log2_n, r=_BLOCK_FACTOR, p=cost.parallel)
    return kdf.derive(password.encode())


def _check_open_allowed(network: str, *, is_worthless: bool) -> None:
    if network not in _OPEN_NETWORKS and not is_worthless:
        names = " and ".join(sorted(_OPEN_NETWORKS))
        raise FileError(
            f"a wallet without a password is for {names} only, or for a network whose file says "
            "worthless = true under [coins]"
        )


def _plain(secret: Secret) -> bytes:
    return f"{secret.words}\n{secret.passphrase}".encode()


def _canonical(table: dict[str, Any]) -> bytes:
    return json.dumps(table, ensure_ascii=True, separators=(",", ":")).encode()


def _checksum(body: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(body)).hexdigest()


def _sum(table: dict[str, Any]) -> str:
    return _checksum({name: value for name, value in table.items() if name != "sha256"})
